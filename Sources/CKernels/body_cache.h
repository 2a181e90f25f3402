// Cached keys and values as the pages hold them: panels of 16 lanes, column after column, with the scales elsewhere in the
// page. Products are of codes; scales are applied to what they add up to, so that nothing is expanded in memory but a panel
// when many rows share it. Included after a vector header, body_math.h and body_tile.h.
#include "CKernels.h"

CK_DEFINE_PANEL(f32, float, v_load)
CK_DEFINE_PANEL(f16, uint16_t, v_load_f16)

#define CK_LOAD_I8(p) v_load_i8((const int8_t *)(p))
#define CK_DEFINE_CODE_TILES(TYPE, LOAD, P)                                                                          \
  CK_DEFINE_TILE(TYPE, uint8_t, LOAD, 1, P)                                                                          \
  CK_DEFINE_TILE(TYPE, uint8_t, LOAD, 2, P)                                                                          \
  CK_DEFINE_TILE(TYPE, uint8_t, LOAD, 3, P)                                                                          \
  CK_DEFINE_TILE(TYPE, uint8_t, LOAD, 4, P)
CK_DEFINE_CODE_TILES(i8, CK_LOAD_I8, 1)
CK_DEFINE_CODE_TILES(i8, CK_LOAD_I8, 2)
CK_DEFINE_CODE_TILES(e4m3, v_load_e4m3, 1)
CK_DEFINE_CODE_TILES(e4m3, v_load_e4m3, 2)

/// The same for codes of four bits: byte 16 k / 2 + lane has column k in its lower half and k + 1 in its upper.
#define CK_DEFINE_NIBBLE_TILE(T, P)                                                                                  \
  CK_INLINE void tile_u4_##T##_##P(const float *x, ptrdiff_t xs, const uint8_t *b, ptrdiff_t bs, ptrdiff_t n, float *c, \
                                   ptrdiff_t cs, int accumulate, const float *bias) {                                \
    v16 acc[T][P];                                                                                                   \
    (void)bias;                                                                                                      \
    CK_UNROLL for (int t = 0; t < T; t++) CK_UNROLL for (int p = 0; p < P; p++) acc[t][p] =                          \
        accumulate ? v_load(c + t * cs + 16 * p) : v_zero();                                                         \
    for (ptrdiff_t k = 0; k < n; k += 2) {                                                                           \
      CK_UNROLL for (int high = 0; high < 2; high++) {                                                               \
        if (k + high >= n) break;                                                                                    \
        v16 column[P];                                                                                               \
        CK_UNROLL for (int p = 0; p < P; p++) column[p] = v_nibbles(b + p * bs + 8 * k, high);                       \
        CK_UNROLL for (int t = 0; t < T; t++) {                                                                      \
          v16 value = v_set(x[t * xs + k + high]);                                                                   \
          CK_UNROLL for (int p = 0; p < P; p++) acc[t][p] = v_fma(value, column[p], acc[t][p]);                      \
        }                                                                                                            \
      }                                                                                                              \
    }                                                                                                                \
    CK_UNROLL for (int t = 0; t < T; t++) CK_UNROLL for (int p = 0; p < P; p++) v_store(c + t * cs + 16 * p,         \
                                                                                        acc[t][p]);                  \
  }
CK_DEFINE_NIBBLE_TILE(1, 1)
CK_DEFINE_NIBBLE_TILE(2, 1)
CK_DEFINE_NIBBLE_TILE(3, 1)
CK_DEFINE_NIBBLE_TILE(4, 1)
CK_DEFINE_NIBBLE_TILE(1, 2)
CK_DEFINE_NIBBLE_TILE(2, 2)
CK_DEFINE_NIBBLE_TILE(3, 2)
CK_DEFINE_NIBBLE_TILE(4, 2)

/// Bytes of `columns` columns of a panel.
CK_INLINE ptrdiff_t column_bytes(int32_t element, ptrdiff_t columns) {
  switch (element) {
    case CK_KV_F32: return columns * CK_PANEL * 4;
    case CK_KV_F16: return columns * CK_PANEL * 2;
    case CK_KV_INT4: return (columns + 1) / 2 * CK_PANEL;
    default: return columns * CK_PANEL;
  }
}

CK_INLINE int has_scales(const ck_cache_side *side) { return side->element >= CK_KV_INT8; }
CK_INLINE int has_minima(const ck_cache_side *side) { return side->element == CK_KV_INT4; }

/// Whether products are of whole numbers: see body_cache_i8.h. Scales of channels change queries from tile to tile.
CK_INLINE int has_numbers(const ck_cache_side *side) { return side->element == CK_KV_INT8 && side->group > 0; }

/// Sixteen scales of what products of codes add up to. Codes of eight bits are loaded over CK_I8_UNIT, a power of two, so that
/// these products have the same bits.
CK_INLINE v16 load_scales(const ck_cache_side *side, const uint16_t *p) {
  v16 scales = v_load_f16(p);
  return CK_I8_UNIT != 1.0f && side->element == CK_KV_INT8 ? v_mul(scales, v_set(CK_I8_UNIT)) : scales;
}

/// Codes as floats, without their scales.
CK_INLINE void widen(int32_t element, const uint8_t *from, ptrdiff_t columns, float *to) {
  switch (element) {
    case CK_KV_F16:
      for (ptrdiff_t k = 0; k < columns; k++) v_store(to + 16 * k, v_load_f16((const uint16_t *)(const void *)from + 16 * k));
      break;
    case CK_KV_INT8:
      for (ptrdiff_t k = 0; k < columns; k++) v_store(to + 16 * k, v_load_i8((const int8_t *)from + 16 * k));
      break;
    case CK_KV_FP8:
      for (ptrdiff_t k = 0; k < columns; k++) v_store(to + 16 * k, v_load_e4m3(from + 16 * k));
      break;
    case CK_KV_INT4:
      for (ptrdiff_t k = 0; k < columns; k++) v_store(to + 16 * k, v_nibbles(from + k / 2 * 16, k & 1));
      break;
  }
}

/// Query rows that make it worth turning halves, or codes, into floats first.
enum { WIDEN_ROWS = 2 * CK_TOKENS, WIDEN_CODE_ROWS = 5 };

#define CK_CODE_CASE(TYPE, T)                                                                                        \
  case T:                                                                                                            \
    if (pair) tile_##TYPE##_##T##_2(x, xs, b, bs, n, c, cs, accumulate, 0);                                          \
    else tile_##TYPE##_##T##_1(x, xs, b, bs, n, c, cs, accumulate, 0);                                               \
    break;
#define CK_CODE_ROWS(TYPE)                                                                                           \
  switch (rows) { CK_CODE_CASE(TYPE, 1) CK_CODE_CASE(TYPE, 2) CK_CODE_CASE(TYPE, 3) CK_CODE_CASE(TYPE, 4) }

/// c[r][16 p ...] = (accumulate ? c : 0) + sum over k < n of x[r][k] * panel p[k], panels `bs` bytes apart.
static void products(int32_t element, const float *x, ptrdiff_t xs, const uint8_t *b, ptrdiff_t bs, ptrdiff_t n,
                     ptrdiff_t rows, ptrdiff_t panels, float *c, ptrdiff_t cs, int accumulate, float *wide) {
  while (panels > 0) {
    ptrdiff_t done = 1;
    if (element == CK_KV_F32) {
      panel_f32(x, xs, (const float *)(const void *)b, n, rows, c, cs, accumulate, 0);
    } else if (element == CK_KV_F16 && rows < WIDEN_ROWS) {
      panel_f16(x, xs, (const uint16_t *)(const void *)b, n, rows, c, cs, accumulate, 0);
    } else if (element == CK_KV_F16 || rows >= WIDEN_CODE_ROWS) {
      widen(element, b, n, wide);
      panel_f32(x, xs, wide, n, rows, c, cs, accumulate, 0);
    } else {
      int pair = panels > 1;
      if (element == CK_KV_INT8) CK_CODE_ROWS(i8)
      else if (element == CK_KV_FP8) CK_CODE_ROWS(e4m3)
      else CK_CODE_ROWS(u4)
      done = pair ? 2 : 1;
    }
    panels -= done;
    b += done * bs;
    c += done * CK_PANEL;
  }
}
