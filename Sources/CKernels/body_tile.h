// Register tiles: T tokens times P panels of 16 rows, one fused multiply-add per product in order of k.
// Included after a vector header.

#define CK_UNROLL _Pragma("clang loop unroll(full)")

/// c[t][16 p ...] = (accumulate ? c : 0) + sum over k of x[t][k] * b[p][k], then + bias when there is one.
#define CK_DEFINE_TILE(TYPE, ELEMENT, LOAD, T, P)                                                                    \
  CK_INLINE void tile_##TYPE##_##T##_##P(const float *x, ptrdiff_t xs, const ELEMENT *b, ptrdiff_t bs, ptrdiff_t n,  \
                                         float *c, ptrdiff_t cs, int accumulate, const float *bias) {                \
    v16 acc[T][P];                                                                                                   \
    CK_UNROLL for (int t = 0; t < T; t++) CK_UNROLL for (int p = 0; p < P; p++) acc[t][p] =                          \
        accumulate ? v_load(c + t * cs + 16 * p) : v_zero();                                                         \
    for (ptrdiff_t k = 0; k < n; k++) {                                                                              \
      v16 column[P];                                                                                                 \
      CK_UNROLL for (int p = 0; p < P; p++) column[p] = LOAD(b + p * bs + 16 * k);                                   \
      CK_UNROLL for (int t = 0; t < T; t++) {                                                                        \
        v16 value = v_set(x[t * xs + k]);                                                                            \
        CK_UNROLL for (int p = 0; p < P; p++) acc[t][p] = v_fma(value, column[p], acc[t][p]);                        \
      }                                                                                                              \
    }                                                                                                                \
    if (bias) {                                                                                                      \
      CK_UNROLL for (int t = 0; t < T; t++) CK_UNROLL for (int p = 0; p < P; p++) acc[t][p] =                        \
          v_add(acc[t][p], v_load(bias + 16 * p));                                                                   \
    }                                                                                                                \
    CK_UNROLL for (int t = 0; t < T; t++) CK_UNROLL for (int p = 0; p < P; p++) v_store(c + t * cs + 16 * p,         \
                                                                                        acc[t][p]);                  \
  }

#define CK_TILE_CASE(TYPE, T)                                                                                        \
  case T:                                                                                                            \
    tile_##TYPE##_##T##_1(x, xs, b, 0, n, c, cs, accumulate, bias);                                                  \
    break;

#define CK_DEFINE_SMALL_TILES(TYPE, ELEMENT, LOAD)                                                                   \
  CK_DEFINE_TILE(TYPE, ELEMENT, LOAD, 1, 1)                                                                          \
  CK_DEFINE_TILE(TYPE, ELEMENT, LOAD, 2, 1)                                                                          \
  CK_DEFINE_TILE(TYPE, ELEMENT, LOAD, 3, 1)                                                                          \
  CK_DEFINE_TILE(TYPE, ELEMENT, LOAD, 4, 1)

#if CK_TOKENS == 4
#define CK_DEFINE_LARGE_TILES(TYPE, ELEMENT, LOAD)
#define CK_LARGE_CASES(TYPE)
#elif CK_TOKENS == 6
#define CK_DEFINE_LARGE_TILES(TYPE, ELEMENT, LOAD)                                                                   \
  CK_DEFINE_TILE(TYPE, ELEMENT, LOAD, 5, 1)                                                                          \
  CK_DEFINE_TILE(TYPE, ELEMENT, LOAD, 6, 1)
#define CK_LARGE_CASES(TYPE) CK_TILE_CASE(TYPE, 5) CK_TILE_CASE(TYPE, 6)
#else
#define CK_DEFINE_LARGE_TILES(TYPE, ELEMENT, LOAD)                                                                   \
  CK_DEFINE_TILE(TYPE, ELEMENT, LOAD, 6, 1)                                                                          \
  CK_DEFINE_TILE(TYPE, ELEMENT, LOAD, 8, 1)                                                                          \
  CK_DEFINE_TILE(TYPE, ELEMENT, LOAD, 12, 1)
#define CK_LARGE_CASES(TYPE) CK_TILE_CASE(TYPE, 6) CK_TILE_CASE(TYPE, 8) CK_TILE_CASE(TYPE, 12)
#endif

/// The largest tile that is not larger than `tokens`.
CK_INLINE ptrdiff_t tile_tokens(ptrdiff_t tokens) {
#if CK_TOKENS == 12
  return tokens >= 12 ? 12 : tokens >= 8 ? 8 : tokens >= 6 ? 6 : tokens >= 4 ? 4 : tokens;
#else
  return tokens >= CK_TOKENS ? CK_TOKENS : tokens;
#endif
}

/// One panel for any number of tokens.
#define CK_DEFINE_PANEL(TYPE, ELEMENT, LOAD)                                                                         \
  CK_DEFINE_SMALL_TILES(TYPE, ELEMENT, LOAD)                                                                         \
  CK_DEFINE_LARGE_TILES(TYPE, ELEMENT, LOAD)                                                                         \
  static void panel_##TYPE(const float *x, ptrdiff_t xs, const ELEMENT *b, ptrdiff_t n, ptrdiff_t tokens, float *c,  \
                           ptrdiff_t cs, int accumulate, const float *bias) {                                        \
    for (ptrdiff_t t = 0; t < tokens;) {                                                                             \
      ptrdiff_t count = tile_tokens(tokens - t);                                                                     \
      switch (count) {                                                                                               \
        CK_TILE_CASE(TYPE, 1)                                                                                        \
        CK_TILE_CASE(TYPE, 2)                                                                                        \
        CK_TILE_CASE(TYPE, 3)                                                                                        \
        CK_TILE_CASE(TYPE, 4)                                                                                        \
        CK_LARGE_CASES(TYPE)                                                                                         \
      }                                                                                                              \
      t += count;                                                                                                    \
      x += count * xs;                                                                                               \
      c += count * cs;                                                                                               \
    }                                                                                                                \
  }
