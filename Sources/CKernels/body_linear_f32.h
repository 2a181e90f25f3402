// Linear layers with float32 activations: dense panels directly, codes through a scratch of floats.
// Included after a vector header and body_tile.h.
#include "CKernels.h"
#include "body_grid.h"

/// Columns that stay in the first cache while the tokens of a block pass by, and floats from token to token in the
/// copy of their activations: not a power of two, so that tokens do not compete for the same cache lines.
enum { COLUMN_BLOCK = 256, TOKEN_STRIDE = COLUMN_BLOCK + 16 };

CK_DEFINE_PANEL(f32, float, v_load)
CK_DEFINE_PANEL(bf16, uint16_t, v_load_bf16)
CK_DEFINE_PANEL(f16, uint16_t, v_load_f16)
CK_DEFINE_TILE(f32, float, v_load, 1, 4)
CK_DEFINE_TILE(f32, float, v_load, 2, 2)
CK_DEFINE_TILE(bf16, uint16_t, v_load_bf16, 2, 2)
CK_DEFINE_TILE(f16, uint16_t, v_load_f16, 2, 2)

#if CK_TOKENS == 12
CK_DEFINE_TILE(f32, float, v_load, 12, 2)

/// Two panels at once: every activation is read once for both, which processors with two wide multipliers need.
static void pair_f32(const float *x, ptrdiff_t xs, const float *b, ptrdiff_t bs, ptrdiff_t n, ptrdiff_t tokens,
                     float *c, ptrdiff_t cs, int accumulate, const float *bias) {
  ptrdiff_t t = 0;
  for (; t + 12 <= tokens; t += 12) tile_f32_12_2(x + t * xs, xs, b, bs, n, c + t * cs, cs, accumulate, bias);
  if (t == tokens) return;
  panel_f32(x + t * xs, xs, b, n, tokens - t, c + t * cs, cs, accumulate, bias);
  panel_f32(x + t * xs, xs, b + bs, n, tokens - t, c + t * cs + 16, cs, accumulate, bias ? bias + 16 : 0);
}
#define CK_PAIRS 1
#else
#define CK_PAIRS 0
CK_INLINE void pair_f32(const float *x, ptrdiff_t xs, const float *b, ptrdiff_t bs, ptrdiff_t n, ptrdiff_t tokens,
                        float *c, ptrdiff_t cs, int accumulate, const float *bias) {
  (void)x, (void)xs, (void)b, (void)bs, (void)n, (void)tokens, (void)c, (void)cs, (void)accumulate, (void)bias;
}
#endif

/// Where a panel's results go: straight to y, or through 16 columns of scratch when the matrix ends inside the panel.
typedef struct target {
  float *c;
  ptrdiff_t stride;
  const float *bias;
  float padded_bias[16];
} target;

CK_INLINE void open_target(target *to, const ck_panels *w, ptrdiff_t panel, const float *bias, float *y,
                           ptrdiff_t y_stride, float *edge) {
  ptrdiff_t rows = w->rows - panel * CK_PANEL;
  to->c = y + panel * CK_PANEL;
  to->stride = y_stride;
  to->bias = bias ? bias + panel * CK_PANEL : 0;
  if (rows >= CK_PANEL) return;
  to->c = edge;
  to->stride = CK_PANEL;
  if (!bias) return;
  for (ptrdiff_t i = 0; i < CK_PANEL; i++) to->padded_bias[i] = i < rows ? to->bias[i] : 0;
  to->bias = to->padded_bias;
}

CK_INLINE void close_target(const ck_panels *w, ptrdiff_t panel, ptrdiff_t tokens, float *y, ptrdiff_t y_stride,
                            const float *edge) {
  ptrdiff_t rows = w->rows - panel * CK_PANEL;
  if (rows >= CK_PANEL) return;
  for (ptrdiff_t t = 0; t < tokens; t++)
    memcpy(y + t * y_stride + panel * CK_PANEL, edge + t * CK_PANEL, (size_t)rows * sizeof(float));
}

/// Writes columns first ..< first + count of a panel as floats, 16 to a column; `first` is a multiple of 128.
CK_INLINE void expand_f32(const ck_panels *w, const uint8_t *panel, ptrdiff_t first, ptrdiff_t count, float *to) {
  (void)w;
  memcpy(to, panel + first * 64, (size_t)count * 64);
}
CK_INLINE void expand_bf16(const ck_panels *w, const uint8_t *panel, ptrdiff_t first, ptrdiff_t count, float *to) {
  (void)w;
  const uint16_t *from = (const uint16_t *)(const void *)panel + first * 16;
  for (ptrdiff_t k = 0; k < count; k++) v_store(to + 16 * k, v_load_bf16(from + 16 * k));
}
CK_INLINE void expand_f16(const ck_panels *w, const uint8_t *panel, ptrdiff_t first, ptrdiff_t count, float *to) {
  (void)w;
  const uint16_t *from = (const uint16_t *)(const void *)panel + first * 16;
  for (ptrdiff_t k = 0; k < count; k++) v_store(to + 16 * k, v_load_f16(from + 16 * k));
}

CK_INLINE void expand_q8(const ck_panels *w, const uint8_t *panel, ptrdiff_t first, ptrdiff_t count, float *to) {
  const uint8_t *codes = panel + w->codes_offset;
  for (ptrdiff_t done = 0; done < count;) {
    ptrdiff_t end = done + w->block_length < count ? done + w->block_length : count;
    grid g = block_grid(w, panel, (first + done) / w->block_length, 128);
    for (; done < end; done += 4) {
      const uint8_t *step = codes + (first + done) * 16;
      v_store(to + done * 16, v_mul(g.scale, v_sub(v_codes_q8(step, 0), g.zero)));
      v_store(to + done * 16 + 16, v_mul(g.scale, v_sub(v_codes_q8(step, 1), g.zero)));
      v_store(to + done * 16 + 32, v_mul(g.scale, v_sub(v_codes_q8(step, 2), g.zero)));
      v_store(to + done * 16 + 48, v_mul(g.scale, v_sub(v_codes_q8(step, 3), g.zero)));
    }
  }
}

CK_INLINE void expand_q4(const ck_panels *w, const uint8_t *panel, ptrdiff_t first, ptrdiff_t count, float *to) {
  const uint8_t *codes = panel + w->codes_offset;
  for (ptrdiff_t done = 0; done < count;) {
    ptrdiff_t end = done + w->block_length < count ? done + w->block_length : count;
    grid g = block_grid(w, panel, (first + done) / w->block_length, 8);
    for (; done < end; done += 8) {
      const uint8_t *step = codes + (first + done) * 8;
      CK_UNROLL for (int j = 0; j < 8; j++)
          v_store(to + (done + j) * 16, v_mul(g.scale, v_sub(v_codes_q4(step, j & 3, j >> 2), g.zero)));
    }
  }
}

/// E4M3 codes have f32 scales; both are exact, and their product is rounded once, as the codec does.
CK_INLINE void expand_e4m3(const ck_panels *w, const uint8_t *panel, ptrdiff_t first, ptrdiff_t count, float *to) {
  const uint8_t *codes = panel + w->codes_offset + first * 16;
  for (ptrdiff_t done = 0; done < count;) {
    ptrdiff_t end = done + w->block_length < count ? done + w->block_length : count;
    const float *scales = (const float *)(const void *)panel + (first + done) / w->block_length * 16;
    v16 scale = v_mul(v_load(scales), v_set(256.0f));
    for (; done < end; done++) v_store(to + done * 16, v_mul(scale, v_load_e4m3(codes + done * 16)));
  }
}

/// Blocks of columns outside, so that the floats of a panel's block are made once and used for all tokens.
#define CK_DEFINE_BLOCKED(NAME, IS_FLOAT)                                                                            \
  static void blocked_##NAME(const ck_panels *w, const float *x, ptrdiff_t xs, ptrdiff_t tokens, const float *bias,  \
                             float *y, ptrdiff_t ys, ptrdiff_t first, ptrdiff_t count, float *scratch) {             \
    float *edge = scratch + CK_LINEAR_SCRATCH, *near = edge + CK_PANEL * tokens;                                     \
    for (ptrdiff_t k = 0; k == 0 || k < w->columns; k += COLUMN_BLOCK) {                                             \
      ptrdiff_t n = w->columns - k < COLUMN_BLOCK ? w->columns - k : COLUMN_BLOCK;                                   \
      for (ptrdiff_t t = 0; t < tokens; t++) memcpy(near + t * TOKEN_STRIDE, x + t * xs + k, (size_t)n * 4);         \
      int last = k + COLUMN_BLOCK >= w->columns;                                                                     \
      for (ptrdiff_t p = first; p < first + count; p++) {                                                            \
        const uint8_t *panel = w->bytes + p * w->panel_bytes;                                                        \
        if (CK_PAIRS && p + 2 <= first + count && (p + 2) * CK_PANEL <= w->rows) {                                   \
          const float *values = (const float *)(const void *)panel + k * 16;                                         \
          ptrdiff_t stride = IS_FLOAT ? w->panel_bytes / 4 : COLUMN_BLOCK * 16;                                      \
          if (!IS_FLOAT) {                                                                                           \
            expand_##NAME(w, panel, k, n, scratch);                                                                  \
            expand_##NAME(w, panel + w->panel_bytes, k, n, scratch + stride);                                        \
            values = scratch;                                                                                        \
          }                                                                                                          \
          pair_f32(near, TOKEN_STRIDE, values, stride, n, tokens, y + p * CK_PANEL, ys, k > 0,                       \
                   last && bias ? bias + p * CK_PANEL : 0);                                                          \
          p++;                                                                                                       \
          continue;                                                                                                  \
        }                                                                                                            \
        target to;                                                                                                   \
        open_target(&to, w, p, bias, y, ys, edge);                                                                   \
        const float *values = (const float *)(const void *)panel + k * 16;                                           \
        if (!IS_FLOAT) {                                                                                             \
          expand_##NAME(w, panel, k, n, scratch);                                                                    \
          values = scratch;                                                                                          \
        }                                                                                                            \
        panel_f32(near, TOKEN_STRIDE, values, n, tokens, to.c, to.stride, k > 0, last ? to.bias : 0);                         \
        if (last) close_target(w, p, tokens, y, ys, edge);                                                           \
      }                                                                                                              \
    }                                                                                                                \
  }

CK_DEFINE_BLOCKED(f32, 1)
CK_DEFINE_BLOCKED(bf16, 0)
CK_DEFINE_BLOCKED(f16, 0)
CK_DEFINE_BLOCKED(q8, 0)
CK_DEFINE_BLOCKED(q4, 0)
CK_DEFINE_BLOCKED(e4m3, 0)

/// One token, four whole panels. While it multiplies, it fetches what comes next: of these panels, and of what is `next` bytes behind
/// them.
#define CK_DEFINE_FOUR_PANELS(NAME, ELEMENT, LOAD)                                                                   \
  static void four_panels_##NAME(const float *x, const ELEMENT *b, ptrdiff_t bs, ptrdiff_t n, float *c,              \
                                 const float *bias, ptrdiff_t next) {                                                \
    enum { COLUMN_BYTES = CK_PANEL * sizeof(ELEMENT), AHEAD = CK_AHEAD / COLUMN_BYTES };                             \
    const ptrdiff_t distance = AHEAD < n ? AHEAD : n;                                                                \
    v16 acc[4];                                                                                                      \
    CK_UNROLL for (int p = 0; p < 4; p++) acc[p] = v_zero();                                                         \
    for (ptrdiff_t k = 0; k < n; k++) {                                                                              \
      const ELEMENT *at = b + CK_PANEL * k;                                                                          \
      const ptrdiff_t rest = k + distance < n ? 0 : next - COLUMN_BYTES * n;                                         \
      const char *ahead = (const char *)at + COLUMN_BYTES * distance + rest;                                         \
      v16 value = v_set(x[k]);                                                                                       \
      CK_UNROLL for (int p = 0; p < 4; p++) {                                                                        \
        __builtin_prefetch(ahead + p * bs * (ptrdiff_t)sizeof(ELEMENT), 0, 2);                                       \
        acc[p] = v_fma(value, LOAD(at + p * bs), acc[p]);                                                            \
      }                                                                                                              \
    }                                                                                                                \
    CK_UNROLL for (int p = 0; p < 4; p++) v_store(c + CK_PANEL * p,                                                  \
                                                  bias ? v_add(acc[p], v_load(bias + CK_PANEL * p)) : acc[p]);       \
  }

/// Few tokens: panels are read once, straight from memory.
#define CK_DEFINE_DENSE(NAME, ELEMENT)                                                                               \
  void ISA(ck_linear_##NAME##_f32)(const ck_panels *w, const float *x, ptrdiff_t xs, ptrdiff_t tokens,               \
                                   const float *bias, float *y, ptrdiff_t ys, ptrdiff_t first, ptrdiff_t count,      \
                                   float *scratch) {                                                                 \
    if (tokens > 2 * CK_TOKENS) {                                                                                    \
      blocked_##NAME(w, x, xs, tokens, bias, y, ys, first, count, scratch);                                          \
      return;                                                                                                        \
    }                                                                                                                \
    ptrdiff_t end = first + count, whole = w->rows / CK_PANEL < end ? w->rows / CK_PANEL : end;                      \
    ptrdiff_t stride = w->panel_bytes / (ptrdiff_t)sizeof(ELEMENT);                                                  \
    ptrdiff_t p = first;                                                                                             \
    if (tokens == 1)                                                                                                 \
      for (; p + 4 <= whole; p += 4)                                                                                 \
        four_panels_##NAME(x, (const ELEMENT *)(const void *)w->bytes + p * stride, stride, w->columns,              \
                           y + p * CK_PANEL, bias ? bias + p * CK_PANEL : 0, next_panels(w, p, end - p));            \
    if (tokens == 2)                                                                                                 \
      for (; p + 2 <= whole; p += 2)                                                                                 \
        tile_##NAME##_2_2(x, xs, (const ELEMENT *)(const void *)w->bytes + p * stride, stride, w->columns,           \
                          y + p * CK_PANEL, ys, 0, bias ? bias + p * CK_PANEL : 0);                                  \
    float *edge = scratch + CK_LINEAR_SCRATCH;                                                                       \
    for (; p < end; p++) {                                                                                           \
      target to;                                                                                                     \
      open_target(&to, w, p, bias, y, ys, edge);                                                                     \
      panel_##NAME(x, xs, (const ELEMENT *)(const void *)w->bytes + p * stride, w->columns, tokens, to.c, to.stride, \
                   0, to.bias);                                                                                      \
      close_target(w, p, tokens, y, ys, edge);                                                                       \
    }                                                                                                                \
  }

CK_DEFINE_FOUR_PANELS(f32, float, v_load)
CK_DEFINE_FOUR_PANELS(bf16, uint16_t, v_load_bf16)
CK_DEFINE_FOUR_PANELS(f16, uint16_t, v_load_f16)
CK_DEFINE_DENSE(f32, float)
CK_DEFINE_DENSE(bf16, uint16_t)
CK_DEFINE_DENSE(f16, uint16_t)

/// Codes: four panels at once for one token, so that the adds of one do not wait for each other.
#define CK_DEFINE_CODES(NAME)                                                                                        \
  void ISA(ck_linear_##NAME##_f32)(const ck_panels *w, const float *x, ptrdiff_t xs, ptrdiff_t tokens,               \
                                   const float *bias, float *y, ptrdiff_t ys, ptrdiff_t first, ptrdiff_t count,      \
                                   float *scratch) {                                                                 \
    enum { STEP = 128 };                                                                                             \
    ptrdiff_t whole = w->rows / CK_PANEL - first, p = 0;                                                             \
    if (whole > count) whole = count;                                                                                \
    if (tokens == 1) {                                                                                               \
      for (; p + 4 <= whole; p += 4) {                                                                               \
        float *to = y + (first + p) * CK_PANEL;                                                                      \
        for (ptrdiff_t k = 0; k == 0 || k < w->columns; k += STEP) {                                                 \
          ptrdiff_t n = w->columns - k < STEP ? w->columns - k : STEP;                                               \
          for (ptrdiff_t i = 0; i < 4; i++)                                                                          \
            expand_##NAME(w, w->bytes + (first + p + i) * w->panel_bytes, k, n, scratch + i * STEP * 16);            \
          const float *ends = bias && k + STEP >= w->columns ? bias + (first + p) * CK_PANEL : 0;                    \
          tile_f32_1_4(x + k, xs, scratch, STEP * 16, n, to, ys, k > 0, ends);                                       \
        }                                                                                                            \
      }                                                                                                              \
    }                                                                                                                \
    if (p < count) blocked_##NAME(w, x, xs, tokens, bias, y, ys, first + p, count - p, scratch);                     \
  }

CK_DEFINE_CODES(q8)
CK_DEFINE_CODES(q4)
CK_DEFINE_CODES(e4m3)
