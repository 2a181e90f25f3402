// Linear layers by compact bf16 panels. Each sum is that of plain bf16: the same products in the same order.
// Included after body_linear_f32.h, whose tiles and blocks multiply what is expanded here.
#include "compact.h"

/// Writes the eight columns of a step as floats, exceptions as what stands in their place.
CK_INLINE void expand_compact_step(const uint8_t *step, v_exponents base, float *to) {
  CK_UNROLL for (int pair = 0; pair < CK_COMPACT_COLUMNS / 2; pair++) {
    v16 even, odd;
    v_load_compact(step, pair, base, &even, &odd);
    v_store(to + 32 * pair, even);
    v_store(to + 32 * pair + 16, odd);
  }
}

CK_INLINE void put_exception(const ck_exception *exception, ptrdiff_t column, float *to) {
  const uint32_t bits = (uint32_t)exception->bits << 16;
  memcpy(to + column * CK_PANEL + exception->row % CK_PANEL, &bits, 4);
}

/// Writes whole steps: up to seven columns more than asked for.
CK_INLINE void expand_compact_bf16(const ck_panels *w, const uint8_t *panel, ptrdiff_t first, ptrdiff_t count, float *to) {
  const v_exponents base = v_load_exponents(panel);
  const uint8_t *step = panel + w->codes_offset + first / CK_COMPACT_COLUMNS * CK_COMPACT_STEP;
  for (ptrdiff_t k = 0; k < count; k += CK_COMPACT_COLUMNS, step += CK_COMPACT_STEP)
    expand_compact_step(step, base, to + k * CK_PANEL);
  for (exceptions list = exceptions_of(w, panel); list.next < list.end; list.next++) {
    const ptrdiff_t column = (ptrdiff_t)list.next->column - first;
    if (column >= 0 && column < count) put_exception(list.next, column, to);
  }
}

CK_DEFINE_BLOCKED(compact_bf16, 0)

enum { COMPACT_SUMS = 8, COMPACT_PANELS = 4 };

/// Panels that are multiplied together, and their sums: those of a token follow each other.
typedef struct compact_group {
  const uint8_t *steps;
  ptrdiff_t stride;
  int tokens, panels;
  v_exponents base[COMPACT_PANELS];
  exceptions list[COMPACT_PANELS];
  v16 sums[COMPACT_SUMS];
} compact_group;

/// The first step from which on one of the panels has an exception; `steps` when there is none.
CK_INLINE ptrdiff_t exceptional_step(const compact_group *group, const int P, ptrdiff_t steps) {
  CK_UNROLL for (int p = 0; p < P; p++) {
    if (group->list[p].next == group->list[p].end) continue;
    const ptrdiff_t step = group->list[p].next->column / CK_COMPACT_COLUMNS;
    if (step < steps) steps = step;
  }
  return steps;
}

/// Multiplies up to eight columns that are fewer or have exceptions.
static void multiply_exceptional(compact_group *group, ptrdiff_t step, const float *x, ptrdiff_t xs, ptrdiff_t count) {
  for (int p = 0; p < group->panels; p++) {
    float values[CK_COMPACT_COLUMNS * CK_PANEL];
    expand_compact_step(group->steps + p * group->stride + step * CK_COMPACT_STEP, group->base[p], values);
    exceptions *list = &group->list[p];
    for (; list->next < list->end && list->next->column / CK_COMPACT_COLUMNS <= step; list->next++)
      put_exception(list->next, list->next->column % CK_COMPACT_COLUMNS, values);
    for (int t = 0; t < group->tokens; t++) {
      v16 *sum = &group->sums[t * group->panels + p];
      for (ptrdiff_t j = 0; j < count; j++)
        *sum = v_fma(v_set(x[t * xs + j]), v_load(values + CK_PANEL * j), *sum);
    }
  }
}

/// Fetches the lines that come `distance` bytes behind a line of the panels; behind their end, what lies `next` bytes from their
/// beginning.
CK_INLINE void fetch_compact(const int P, const uint8_t *panel, ptrdiff_t stride, ptrdiff_t offset, ptrdiff_t distance,
                             ptrdiff_t next) {
  const ptrdiff_t ahead = offset + distance < stride ? offset + distance : offset + distance - stride + next;
  CK_UNROLL for (int p = 0; p < P; p++) __builtin_prefetch(panel + ahead + p * stride, 0, 2);
}

/// T tokens, P whole panels. Between exceptions columns go from memory to the sums; lines are fetched as by other kernels for one
/// token.
CK_INLINE void multiply_compact(const int T, const int P, const ck_panels *w, ptrdiff_t first, const float *x, ptrdiff_t xs,
                                float *y, ptrdiff_t ys, const float *bias, ptrdiff_t next) {
  enum { LINE = 64 };
  const ptrdiff_t stride = w->panel_bytes, distance = CK_AHEAD < stride ? CK_AHEAD : stride;
  const uint8_t *panel = w->bytes + first * stride;
  compact_group group = {.steps = panel + w->codes_offset, .stride = stride, .tokens = T, .panels = P};
  CK_UNROLL for (int p = 0; p < P; p++) {
    group.base[p] = v_load_exponents(panel + p * stride);
    group.list[p] = exceptions_of(w, panel + p * stride);
  }
  CK_UNROLL for (int i = 0; i < T * P; i++) group.sums[i] = v_zero();
  for (ptrdiff_t offset = 0; offset < w->codes_offset; offset += LINE)
    fetch_compact(P, panel, stride, offset, distance, next);
  for (ptrdiff_t step = 0;; step++) {
    const ptrdiff_t stop = exceptional_step(&group, P, w->columns / CK_COMPACT_COLUMNS);
    v16 sums[T * P];
    CK_UNROLL for (int i = 0; i < T * P; i++) sums[i] = group.sums[i];
    for (; step < stop; step++) {
      const uint8_t *at = group.steps + step * CK_COMPACT_STEP;
      CK_UNROLL for (int line = 0; line < CK_COMPACT_STEP; line += LINE)
        fetch_compact(P, panel, stride, at + line - panel, distance, next);
      CK_UNROLL for (int pair = 0; pair < CK_COMPACT_COLUMNS / 2; pair++) {
        const float *numbers = x + step * CK_COMPACT_COLUMNS + 2 * pair;
        CK_UNROLL for (int p = 0; p < P; p++) {
          v16 even, odd;
          v_load_compact(at + p * stride, pair, group.base[p], &even, &odd);
          CK_UNROLL for (int t = 0; t < T; t++) {
            v16 sum = v_fma(v_set(numbers[t * xs]), even, sums[t * P + p]);
            sums[t * P + p] = v_fma(v_set(numbers[t * xs + 1]), odd, sum);
          }
        }
      }
    }
    CK_UNROLL for (int i = 0; i < T * P; i++) group.sums[i] = sums[i];
    const ptrdiff_t rest = w->columns - step * CK_COMPACT_COLUMNS;
    if (rest <= 0) break;
    CK_UNROLL for (int line = 0; line < CK_COMPACT_STEP; line += LINE)
      fetch_compact(P, panel, stride, w->codes_offset + step * CK_COMPACT_STEP + line, distance, next);
    multiply_exceptional(&group, step, x + step * CK_COMPACT_COLUMNS, xs,
                         rest < CK_COMPACT_COLUMNS ? rest : CK_COMPACT_COLUMNS);
  }
  CK_UNROLL for (int t = 0; t < T; t++) CK_UNROLL for (int p = 0; p < P; p++) {
    const ptrdiff_t row = (first + p) * CK_PANEL;
    const v16 sum = group.sums[t * P + p];
    v_store(y + t * ys + row, bias ? v_add(sum, v_load(bias + row)) : sum);
  }
}

/// Panels that three or four tokens are multiplied with: as many sums as registers hold.
enum { COMPACT_PAIR = CK_TOKENS == 12 ? 2 : 1 };

void ISA(ck_linear_compact_bf16_f32)(const ck_panels *w, const float *x, ptrdiff_t xs, ptrdiff_t tokens,
                                     const float *bias, float *y, ptrdiff_t ys, ptrdiff_t first, ptrdiff_t count,
                                     float *scratch) {
  if (tokens > 2 * CK_TOKENS) {
    blocked_compact_bf16(w, x, xs, tokens, bias, y, ys, first, count, scratch);
    return;
  }
  const ptrdiff_t end = first + count, whole = w->rows / CK_PANEL < end ? w->rows / CK_PANEL : end;
  ptrdiff_t p = first;
#define WHOLE_PANELS(T, P)                                                                                           \
  case T:                                                                                                            \
    for (; p + (P) <= whole; p += (P))                                                                               \
      multiply_compact(T, P, w, p, x, xs, y, ys, bias,                                                               \
                       T == 1 ? next_panels(w, p, end - p) : (P)*w->panel_bytes);                                    \
    break;
  switch (tokens) {
    WHOLE_PANELS(1, 4)
    WHOLE_PANELS(2, 2)
    WHOLE_PANELS(3, COMPACT_PAIR)
    WHOLE_PANELS(4, COMPACT_PAIR)
    WHOLE_PANELS(5, 1)
    WHOLE_PANELS(6, 1)
#if CK_TOKENS == 12
    WHOLE_PANELS(7, 1)
    WHOLE_PANELS(8, 1)
#endif
  }
#undef WHOLE_PANELS
  // More tokens, and the last panels: one is read from its beginning to its end, by blocks that stay in the first cache.
  float *edge = scratch + CK_LINEAR_SCRATCH;
  for (; p < end; p++) {
    target to;
    open_target(&to, w, p, bias, y, ys, edge);
    for (ptrdiff_t k = 0; k == 0 || k < w->columns; k += COLUMN_BLOCK) {
      const ptrdiff_t n = w->columns - k < COLUMN_BLOCK ? w->columns - k : COLUMN_BLOCK;
      expand_compact_bf16(w, w->bytes + p * w->panel_bytes, k, n, scratch);
      panel_f32(x + k, xs, scratch, n, tokens, to.c, to.stride, k > 0, k + n == w->columns ? to.bias : 0);
    }
    close_target(w, p, tokens, y, ys, edge);
  }
}
