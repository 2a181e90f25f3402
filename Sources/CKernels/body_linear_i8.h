// Linear layers of codes with int8 activations: exact integer sums per block, then
// acc = fma(dot - zero * sum, weight scale * activation scale, acc), block after block.
// Included after a vector header, body_grid.h and the dot products of the instruction set: dots_q8 gives the sum over a
// block of (code - CK_Q8_BIAS) * activation, dots_q4 of code * activation; four_dots_... for one token and four panels.
#include "CKernels.h"

#define CK_UNROLL _Pragma("clang loop unroll(full)")
#define CK_NOINLINE static __attribute__((noinline))

/// Blocks of columns that stay in the first cache while the tokens pass by.
enum { CHUNK_COLUMNS = 1024 };

CK_INLINE void tile_i8(const int T, const int is_q4, const ck_panels *w, const uint8_t *panel, const ck_quantized *x,
                       ptrdiff_t token, ptrdiff_t first_block, ptrdiff_t end_block, v16 *acc) {
  const ptrdiff_t length = w->block_length;
  const ptrdiff_t block_bytes = is_q4 ? length * 8 : length * 16;
  const uint8_t *codes = panel + w->codes_offset + first_block * block_bytes;
  const int8_t *row = x->codes + token * x->code_stride + first_block * length;
  const float *scales = x->scales + token * x->block_stride;
  const int32_t *sums = x->sums + token * x->block_stride;
  for (ptrdiff_t b = first_block; b < end_block; b++, codes += block_bytes, row += length) {
    v16 dot[CK_I8_TOKENS];
    if (is_q4) dots_q4(T, codes, row, x->code_stride, length, dot);
    else dots_q8(T, codes, row, x->code_stride, length, dot);
    grid g = block_grid(w, panel, b, is_q4 ? 8 : 128);
    if (!is_q4) g.zero = v_sub(g.zero, v_set(CK_Q8_BIAS));
    CK_UNROLL for (int t = 0; t < T; t++) {
      float scale = scales[t * x->block_stride + b], sum = (float)sums[t * x->block_stride + b];
      v16 whole = v_fma(g.zero, v_set(-sum), dot[t]);
      acc[t] = v_fma(whole, v_mul(g.scale, v_set(scale)), acc[t]);
    }
  }
}

/// Loads or stores 16 results, fewer where the matrix ends.
CK_INLINE v16 load_results(const float *y, ptrdiff_t rows) {
  if (rows >= CK_PANEL) return v_load(y);
  float buffer[CK_PANEL] = {0};
  memcpy(buffer, y, (size_t)rows * sizeof(float));
  return v_load(buffer);
}
CK_INLINE void store_results(float *y, v16 v, ptrdiff_t rows) {
  if (rows >= CK_PANEL) {
    v_store(y, v);
    return;
  }
  float buffer[CK_PANEL];
  v_store(buffer, v);
  memcpy(y, buffer, (size_t)rows * sizeof(float));
}

CK_INLINE void tokens_i8(const int T, const int is_q4, const ck_panels *w, const ck_quantized *x, ptrdiff_t token,
                         const float *bias, float *y, ptrdiff_t ys, ptrdiff_t p, ptrdiff_t first_block,
                         ptrdiff_t end_block) {
  ptrdiff_t rows = w->rows - p * CK_PANEL;
  float *to = y + token * ys + p * CK_PANEL;
  v16 acc[CK_I8_TOKENS];
  CK_UNROLL for (int t = 0; t < T; t++) acc[t] = first_block > 0 ? load_results(to + t * ys, rows) : v_zero();
  tile_i8(T, is_q4, w, w->bytes + p * w->panel_bytes, x, token, first_block, end_block, acc);
  if (bias) {
    v16 values = load_results(bias + p * CK_PANEL, rows);
    CK_UNROLL for (int t = 0; t < T; t++) acc[t] = v_add(acc[t], values);
  }
  CK_UNROLL for (int t = 0; t < T; t++) store_results(to + t * ys, acc[t], rows);
}

/// One token, four whole panels. While it multiplies, it fetches what comes next: of these panels, and of what is `next` bytes behind
/// them.
CK_INLINE void four_panels_i8(const int is_q4, const ck_panels *w, const ck_quantized *x, const float *bias, float *y,
                              ptrdiff_t p, ptrdiff_t blocks, ptrdiff_t next) {
  const ptrdiff_t length = w->block_length;
  const uint8_t *panel = w->bytes + p * w->panel_bytes;
  const ptrdiff_t block_bytes = length * (is_q4 ? 8 : 16);
  const ptrdiff_t distance = CK_AHEAD / block_bytes < blocks ? CK_AHEAD / block_bytes : blocks;
  v16 acc[4];
  CK_UNROLL for (int i = 0; i < 4; i++) acc[i] = v_zero();
  for (ptrdiff_t i = 0; i < 4; i++)
    for (ptrdiff_t at = 0; at < w->codes_offset; at += 64) __builtin_prefetch(panel + next + i * w->panel_bytes + at, 0, 2);
  for (ptrdiff_t b = 0; b < blocks; b++) {
    const uint8_t *codes = panel + w->codes_offset + b * block_bytes;
    const ptrdiff_t ahead = b + distance < blocks ? distance * block_bytes : (distance - blocks) * block_bytes + next;
    v16 dot[4], scale = v_set(x->scales[b]), sum = v_set(-(float)x->sums[b]);
    if (is_q4) four_dots_q4(codes, w->panel_bytes, ahead, x->codes + b * length, length, dot);
    else four_dots_q8(codes, w->panel_bytes, ahead, x->codes + b * length, length, dot);
    CK_UNROLL for (int i = 0; i < 4; i++) {
      grid g = block_grid(w, panel + i * w->panel_bytes, b, is_q4 ? 8 : 128);
      if (!is_q4) g.zero = v_sub(g.zero, v_set(CK_Q8_BIAS));
      acc[i] = v_fma(v_fma(g.zero, sum, dot[i]), v_mul(g.scale, scale), acc[i]);
    }
  }
  CK_UNROLL for (int i = 0; i < 4; i++) {
    ptrdiff_t row = (p + i) * CK_PANEL;
    v_store(y + row, bias ? v_add(acc[i], v_load(bias + row)) : acc[i]);
  }
}

#define CK_DEFINE_I8(NAME, IS_Q4)                                                                                    \
  CK_NOINLINE void NAME##_1(const ck_panels *w, const ck_quantized *x, ptrdiff_t token, const float *bias, float *y,      \
                       ptrdiff_t ys, ptrdiff_t p, ptrdiff_t b0, ptrdiff_t b1) {                                      \
    tokens_i8(1, IS_Q4, w, x, token, bias, y, ys, p, b0, b1);                                                        \
  }                                                                                                                  \
  CK_NOINLINE void NAME##_2(const ck_panels *w, const ck_quantized *x, ptrdiff_t token, const float *bias, float *y,      \
                       ptrdiff_t ys, ptrdiff_t p, ptrdiff_t b0, ptrdiff_t b1) {                                      \
    tokens_i8(2, IS_Q4, w, x, token, bias, y, ys, p, b0, b1);                                                        \
  }                                                                                                                  \
  CK_NOINLINE void NAME##_many(const ck_panels *w, const ck_quantized *x, ptrdiff_t token, const float *bias, float *y,   \
                          ptrdiff_t ys, ptrdiff_t p, ptrdiff_t b0, ptrdiff_t b1) {                                   \
    tokens_i8(CK_I8_TOKENS, IS_Q4, w, x, token, bias, y, ys, p, b0, b1);                                             \
  }                                                                                                                  \
  CK_NOINLINE void NAME##_four(const ck_panels *w, const ck_quantized *x, const float *bias, float *y, ptrdiff_t p,  \
                               ptrdiff_t blocks, ptrdiff_t next) {                                                   \
    four_panels_i8(IS_Q4, w, x, bias, y, p, blocks, next);                                                           \
  }                                                                                                                  \
  CK_NOINLINE void chunk_##NAME(const ck_panels *w, const ck_quantized *x, ptrdiff_t tokens, const float *bias, float *y,\
                                ptrdiff_t ys, ptrdiff_t first, ptrdiff_t count, ptrdiff_t b0, ptrdiff_t b1) {        \
    for (ptrdiff_t p = first; p < first + count; p++) {                                                              \
      ptrdiff_t t = 0;                                                                                               \
      for (; t + CK_I8_TOKENS <= tokens; t += CK_I8_TOKENS) NAME##_many(w, x, t, bias, y, ys, p, b0, b1);            \
      for (; t + 2 <= tokens; t += 2) NAME##_2(w, x, t, bias, y, ys, p, b0, b1);                                     \
      if (t < tokens) NAME##_1(w, x, t, bias, y, ys, p, b0, b1);                                                     \
    }                                                                                                                \
  }

CK_DEFINE_I8(ck_linear_q8_i8, 0)
CK_DEFINE_I8(ck_linear_q4_i8, 1)

CK_INLINE int linear_unfitted(const ck_panels *w, const ck_quantized *x, ptrdiff_t tokens, const float *bias, float *y,
                              ptrdiff_t ys, ptrdiff_t first, ptrdiff_t count) {
  (void)w, (void)x, (void)tokens, (void)bias, (void)y, (void)ys, (void)first, (void)count;
  return 0;
}
#if defined(CK_FITTED)
#include CK_FITTED
#else
#define linear_fitted linear_unfitted
#endif

#define CK_DEFINE_LINEAR_I8(NAME, FITTED)                                                                            \
  void ISA(NAME)(const ck_panels *w, const ck_quantized *x, ptrdiff_t tokens, const float *bias, float *y,           \
                 ptrdiff_t ys, ptrdiff_t first, ptrdiff_t count) {                                                   \
    ptrdiff_t blocks = (w->columns + w->block_length - 1) / w->block_length;                                         \
    ptrdiff_t chunk = CHUNK_COLUMNS / w->block_length;                                                               \
    if (FITTED(w, x, tokens, bias, y, ys, first, count)) return;                                                     \
    if (tokens <= CK_I8_TOKENS) chunk = blocks;                                                                      \
    if (tokens == 1)                                                                                                 \
      for (; count >= 4 && (first + 4) * CK_PANEL <= w->rows; first += 4, count -= 4)                                \
        NAME##_four(w, x, bias, y, first, blocks, next_panels(w, first, count));                                     \
    for (ptrdiff_t b = 0; b == 0 || b < blocks; b += chunk) {                                                        \
      ptrdiff_t end = b + chunk < blocks ? b + chunk : blocks;                                                       \
      chunk_##NAME(w, x, tokens, end == blocks ? bias : 0, y, ys, first, count, b, end);                             \
    }                                                                                                                \
  }

CK_DEFINE_LINEAR_I8(ck_linear_q8_i8, linear_fitted)
CK_DEFINE_LINEAR_I8(ck_linear_q4_i8, linear_unfitted)

/// y += w * what of x is at or beyond the threshold, or NaN, in float: column after column.
CK_INLINE void add_outliers(const int is_q4, const ck_panels *w, const float *x, float threshold, float *y,
                            ptrdiff_t first, ptrdiff_t count) {
  for (ptrdiff_t k = 0; k < w->columns; k++) {
    float magnitude = x[k] < 0 ? -x[k] : x[k];
    if (magnitude < threshold) continue;
    for (ptrdiff_t p = first; p < first + count; p++) {
      const uint8_t *panel = w->bytes + p * w->panel_bytes, *codes = panel + w->codes_offset;
      grid g = block_grid(w, panel, k / w->block_length, is_q4 ? 8 : 128);
      v16 code = is_q4 ? v_codes_q4(codes + k / 8 * 64, (int)(k % 4), k % 8 >= 4)
                       : v_codes_q8(codes + k / 4 * 64, (int)(k % 4));
      float *to = y + p * CK_PANEL;
      v16 weight = v_mul(g.scale, v_sub(code, g.zero));
      store_results(to, v_fma(v_set(x[k]), weight, load_results(to, w->rows - p * CK_PANEL)), w->rows - p * CK_PANEL);
    }
  }
}
void ISA(ck_outliers_q8)(const ck_panels *w, const float *x, float threshold, float *y, ptrdiff_t first, ptrdiff_t count) {
  add_outliers(0, w, x, threshold, y, first, count);
}
void ISA(ck_outliers_q4)(const ck_panels *w, const float *x, float threshold, float *y, ptrdiff_t first, ptrdiff_t count) {
  add_outliers(1, w, x, threshold, y, first, count);
}
