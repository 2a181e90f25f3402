// Causal attention over pages of keys and values, one key/value head at a time, with an online softmax over tiles of
// CK_KEY_TILE keys that begin at fixed positions: a row's bits do not depend on the rows beside it.
// Included after a vector header, body_math.h and body_tile.h.
#include "CKernels.h"

CK_DEFINE_PANEL(f32, float, v_load)
CK_DEFINE_PANEL(f16, uint16_t, v_load_f16)

/// Per query row: maximum so far, sixteen partial sums, results.
typedef struct running {
  float *maximum;
  float *sums;
  float *results;
} running;

/// Turns a row of logits into weights: masks them, raises the maximum, rescales what was summed before.
CK_INLINE void weigh(const ck_attention *task, float *logits, ptrdiff_t panels, ptrdiff_t first_key, ptrdiff_t seen_from,
                     ptrdiff_t seen_to, ptrdiff_t row, const running *state) {
  v16 best = v_set(-__builtin_inff());
  int masked = seen_from > first_key || seen_to < first_key + panels * CK_PANEL;
  for (ptrdiff_t p = 0; p < panels; p++) {
    v16 value = v_mul(v_load(logits + p * CK_PANEL), v_set(task->scale));
    if (task->softcap > 0)
      value = v_mul(v_set(task->softcap), v_tanh(v_div(value, v_set(task->softcap))));
    if (task->slopes) {
      // Whole numbers: distances are exact in float32 far beyond any context.
      float distances[16];
      for (ptrdiff_t i = 0; i < CK_PANEL; i++) distances[i] = (float)(first_key + p * CK_PANEL + i - (seen_to - 1));
      value = v_add(value, v_mul(v_set(task->slopes[row % task->group]), v_load(distances)));
    }
    if (masked) {
      float buffer[16];
      v_store(buffer, value);
      for (ptrdiff_t i = 0; i < CK_PANEL; i++) {
        ptrdiff_t key = first_key + p * CK_PANEL + i;
        if (key < seen_from || key >= seen_to) buffer[i] = -__builtin_inff();
      }
      value = v_load(buffer);
    }
    v_store(logits + p * CK_PANEL, value);
    best = v_max(value, best);
  }
  float before = state->maximum[row], tile = v_maximum(best), now = tile > before ? tile : before;
  v16 reference = v_set(now == -__builtin_inff() ? 0 : now);
  v16 sum = v_load(state->sums + row * CK_PANEL);
  if (now != before) {
    // Before the first key everything summed is zero, and exp gives zero too.
    v16 factor = v_exp(v_sub(v_set(before), reference));
    sum = v_mul(sum, factor);
    float *results = state->results + row * task->padded_dimension;
    for (ptrdiff_t d = 0; d < task->padded_dimension; d += CK_PANEL) v_store(results + d, v_mul(v_load(results + d), factor));
    state->maximum[row] = now;
  }
  for (ptrdiff_t p = 0; p < panels; p++) {
    v16 weight = v_exp(v_sub(v_load(logits + p * CK_PANEL), reference));
    v_store(logits + p * CK_PANEL, weight);
    sum = v_add(sum, weight);
  }
  v_store(state->sums + row * CK_PANEL, sum);
}

CK_INLINE void widen(const uint16_t *from, float *to, ptrdiff_t count) {
  for (ptrdiff_t i = 0; i < count; i += 16) v_store(to + i, v_load_f16(from + i));
}

/// Query rows that make it worth turning halves into floats first.
enum { WIDEN_ROWS = 2 * CK_TOKENS };

CK_INLINE void attend_tile(const ck_attention *task, const int is_f16, const float *queries, ptrdiff_t rows,
                           ptrdiff_t first_key, ptrdiff_t keys, float *logits, float *wide, const running *state) {
  ptrdiff_t page = first_key / task->page_tokens, inside = first_key % task->page_tokens;
  ptrdiff_t dimension = task->head_dimension, panels = (keys + CK_PANEL - 1) / CK_PANEL;
  ptrdiff_t key_start = task->key_offset + inside * dimension, value_start = task->value_offset + inside * CK_PANEL;
  for (ptrdiff_t p = 0; p < panels; p++) {
    ptrdiff_t at = key_start + p * CK_PANEL * dimension;
    if (is_f16 && rows >= WIDEN_ROWS) {
      widen((const uint16_t *)task->key_pages[page] + at, wide, CK_PANEL * dimension);
      panel_f32(queries, dimension, wide, dimension, rows, logits + p * CK_PANEL, CK_KEY_TILE, 0, 0);
    } else if (is_f16) {
      panel_f16(queries, dimension, (const uint16_t *)task->key_pages[page] + at, dimension, rows,
                logits + p * CK_PANEL, CK_KEY_TILE, 0, 0);
    } else {
      panel_f32(queries, dimension, (const float *)task->key_pages[page] + at, dimension, rows, logits + p * CK_PANEL,
                CK_KEY_TILE, 0, 0);
    }
  }
  for (ptrdiff_t r = 0; r < rows; r++) {
    ptrdiff_t position = task->first_position + r / task->group;
    ptrdiff_t from = task->window > 0 && position - task->window + 1 > 0 ? position - task->window + 1 : 0;
    weigh(task, logits + r * CK_KEY_TILE, panels, first_key, from, position + 1, r, state);
  }
  for (ptrdiff_t d = 0; d < task->padded_dimension; d += CK_PANEL) {
    ptrdiff_t at = value_start + d * task->page_tokens;
    float *results = state->results + d;
    if (is_f16 && rows >= WIDEN_ROWS) {
      widen((const uint16_t *)task->value_pages[page] + at, wide, CK_PANEL * panels * CK_PANEL);
      panel_f32(logits, CK_KEY_TILE, wide, panels * CK_PANEL, rows, results, task->padded_dimension, 1, 0);
    } else if (is_f16) {
      panel_f16(logits, CK_KEY_TILE, (const uint16_t *)task->value_pages[page] + at, panels * CK_PANEL, rows, results,
                task->padded_dimension, 1, 0);
    } else {
      panel_f32(logits, CK_KEY_TILE, (const float *)task->value_pages[page] + at, panels * CK_PANEL, rows, results,
                task->padded_dimension, 1, 0);
    }
  }
}

/// Scratch: queries, logits, widened halves, maxima, sums, results; see ck_attention_scratch.
CK_INLINE void attend(const ck_attention *task, const int is_f16) {
  ptrdiff_t rows = task->tokens * task->group, dimension = task->head_dimension, padded = task->padded_dimension;
  float *queries = task->scratch;
  float *logits = queries + rows * dimension;
  float *wide = logits + rows * CK_KEY_TILE;
  running state;
  state.results = wide + CK_PANEL * (dimension > CK_KEY_TILE ? dimension : CK_KEY_TILE);
  state.sums = state.results + rows * padded;
  state.maximum = state.sums + rows * CK_PANEL;
  memset(state.results, 0, (size_t)(rows * (padded + CK_PANEL)) * sizeof(float));
  for (ptrdiff_t r = 0; r < rows; r++) {
    memcpy(queries + r * dimension, task->q + r / task->group * task->q_stride + r % task->group * dimension,
           (size_t)dimension * sizeof(float));
    // A sink is a key before all others, with weight exp(0) and nothing to add.
    state.maximum[r] = task->sinks ? task->sinks[r % task->group] : -__builtin_inff();
    if (task->sinks) state.sums[r * CK_PANEL] = 1;
  }
  ptrdiff_t last = task->first_position + task->tokens, first = 0;
  if (task->window > 0 && task->first_position - task->window + 1 > 0)
    first = (task->first_position - task->window + 1) / CK_KEY_TILE * CK_KEY_TILE;
  for (ptrdiff_t key = first; key < last; key += CK_KEY_TILE)
    attend_tile(task, is_f16, queries, rows, key, last - key < CK_KEY_TILE ? last - key : CK_KEY_TILE, logits, wide,
                &state);
  for (ptrdiff_t r = 0; r < rows; r++) {
    ptrdiff_t wanted = task->value_dimension;
    float *to = task->y + r / task->group * task->y_stride + r % task->group * wanted;
    const float *from = state.results + r * padded;
    v16 total = v_set(v_sum(v_load(state.sums + r * CK_PANEL)));
    for (ptrdiff_t d = 0; d < wanted; d += CK_PANEL) {
      float buffer[16];
      v_store(buffer, v_div(v_load(from + d), total));
      memcpy(to + d, buffer, (size_t)(wanted - d < CK_PANEL ? wanted - d : CK_PANEL) * sizeof(float));
    }
  }
}

void ISA(ck_attention_f32_f32)(const ck_attention *task) { attend(task, 0); }
void ISA(ck_attention_f32_f16)(const ck_attention *task) { attend(task, 1); }

/// Zeroes the panels that a token begins, so that the lanes of tokens to come never hold what was forgotten.
CK_INLINE void clear_panels(const ck_store *s, size_t width, ptrdiff_t page, ptrdiff_t key_at, ptrdiff_t value_at) {
  memset((char *)s->key_pages[page] + (size_t)key_at * width, 0, (size_t)(CK_PANEL * s->head_dimension) * width);
  for (ptrdiff_t d = 0; d < s->padded_dimension; d += CK_PANEL)
    memset((char *)s->value_pages[page] + (size_t)(value_at + d * s->page_tokens) * width, 0,
           (size_t)(CK_PANEL * CK_PANEL) * width);
}

/// Stores one token's keys and values of one head: keys into lane `inside % 16` of their panel, values row by row.
CK_INLINE void store_token(const ck_store *s, const int is_f16, const float *k, const float *v, ptrdiff_t head,
                           ptrdiff_t position) {
  ptrdiff_t page = position / s->page_tokens, inside = position % s->page_tokens;
  ptrdiff_t key_at = head * s->page_tokens * s->head_dimension + inside / CK_PANEL * CK_PANEL * s->head_dimension +
                     inside % CK_PANEL;
  ptrdiff_t value_at = head * s->page_tokens * s->padded_dimension + inside * CK_PANEL;
  if (inside % CK_PANEL == 0) clear_panels(s, is_f16 ? 2 : 4, page, key_at, value_at);
  for (ptrdiff_t d = 0; d < s->head_dimension; d += CK_PANEL) {
    ptrdiff_t count = s->head_dimension - d < CK_PANEL ? s->head_dimension - d : CK_PANEL;
    float keys[16] = {0};
    memcpy(keys, k + d, (size_t)count * sizeof(float));
    if (is_f16) {
      uint16_t halves[16], *to = (uint16_t *)s->key_pages[page] + key_at + d * CK_PANEL;
      v_store_f16(halves, v_load(keys));
      for (ptrdiff_t i = 0; i < count; i++) to[i * CK_PANEL] = halves[i];
    } else {
      float *to = (float *)s->key_pages[page] + key_at + d * CK_PANEL;
      for (ptrdiff_t i = 0; i < count; i++) to[i * CK_PANEL] = keys[i];
    }
  }
  for (ptrdiff_t d = 0; d < s->value_dimension; d += CK_PANEL) {
    ptrdiff_t count = s->value_dimension - d < CK_PANEL ? s->value_dimension - d : CK_PANEL;
    float values[16] = {0};
    memcpy(values, v + d, (size_t)count * sizeof(float));
    ptrdiff_t at = value_at + d * s->page_tokens;
    if (is_f16) v_store_f16((uint16_t *)s->value_pages[page] + at, v_load(values));
    else v_store((float *)s->value_pages[page] + at, v_load(values));
  }
}

#define CK_DEFINE_STORE(NAME, IS_F16)                                                                                \
  void ISA(NAME)(const ck_store *s, ptrdiff_t head) {                                                                \
    for (ptrdiff_t t = 0; t < s->tokens; t++)                                                                        \
      store_token(s, IS_F16, s->k + t * s->k_stride + head * s->head_dimension,                                      \
                  s->v + t * s->v_stride + head * s->value_dimension, head, s->first_position + t);                  \
  }

CK_DEFINE_STORE(ck_store_kv_f32_f32, 0)
CK_DEFINE_STORE(ck_store_kv_f32_f16, 1)
