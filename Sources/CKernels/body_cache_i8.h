// Products of cached int8 codes with whole numbers of 15 bits and a sign, which take the place of queries and of weights of the
// softmax: two columns at a time, added up exactly. Rounding to 15 bits is to halves' 11 what these are to codes' 7: it is lost in
// what the cache itself rounds. Half the multiplications, and half the work on codes, that floats take.
// Included after body_cache.h.

/// Numbers in the place of `count` floats, a multiple of 16: x ~ scale * number, |number| <= 32767. Returns the scale, which is NaN
/// when a float is not finite.
static float whole_numbers(const float *x, ptrdiff_t count, int16_t *to) {
  v16 most = v_zero(), lost = v_zero();
  for (ptrdiff_t i = 0; i < count; i += CK_PANEL) {
    v16 value = v_load(x + i);
    most = v_max(v_abs(value), most);
    lost = v_fma(value, v_zero(), lost);
  }
  float largest = v_maximum(most), zero = v_sum(lost);
  // What is so small adds nothing to a logit or a result.
  v16 inverse = v_set(largest < 0x1p-100f ? 0 : 32767 / largest);
  if (zero != 0) inverse = v_zero();
  for (ptrdiff_t i = 0; i < count; i += CK_PANEL) {
    v_store_i16(to + i, zero != 0 ? v_zero() : v_round(v_mul(v_load(x + i), inverse)));
  }
  return zero != 0 ? __builtin_nanf("") : largest < 0x1p-100f ? 0 : largest * (1.0f / 32767);
}

/// Codes of `n` columns as pairs of columns; the last one of an odd number has zeros beside it.
CK_INLINE void widen_pairs(const int8_t *b, ptrdiff_t n, int16_t *wide) {
  for (ptrdiff_t k = 0; k < n; k += 2) v_store_pairs(wide + k * CK_PANEL, v_pairs_of(b + k * CK_PANEL, k + 1 < n));
}

/// sums[t][lane] = sum over k < n of x[t][k] * b[k][lane], from codes or from columns in pairs. Reads a number behind an odd n.
CK_INLINE void pair_rows(const int T, const int is_wide, const int16_t *x, ptrdiff_t xs, const int8_t *b,
                         const int16_t *wide, ptrdiff_t n, int32_t *sums) {
  v_sums sum[CK_PAIR_ROWS];
  CK_UNROLL for (int t = 0; t < T; t++) sum[t] = v_no_sums();
  for (ptrdiff_t k = 0; k < n; k += 2) {
    v_pairs pairs = is_wide ? v_load_pairs(wide + k * CK_PANEL) : v_pairs_of(b + k * CK_PANEL, k + 1 < n);
    CK_UNROLL for (int t = 0; t < T; t++) sum[t] = v_add_products(sum[t], pairs, x + t * xs + k);
  }
  CK_UNROLL for (int t = 0; t < T; t++) v_store_sums(sums + t * CK_PANEL, sum[t]);
}

/// One panel for any number of rows.
static void code_sums(const int16_t *x, ptrdiff_t xs, const int8_t *b, ptrdiff_t n, ptrdiff_t rows, int32_t *sums,
                      int16_t *wide) {
  if (rows == CK_PAIR_ROWS) return pair_rows(CK_PAIR_ROWS, 0, x, xs, b, 0, n, sums);
  switch (rows) {
    case 1: pair_rows(1, 0, x, xs, b, 0, n, sums); return;
    case 2: pair_rows(2, 0, x, xs, b, 0, n, sums); return;
    case 3: pair_rows(3, 0, x, xs, b, 0, n, sums); return;
    case 4: pair_rows(4, 0, x, xs, b, 0, n, sums); return;
  }
  widen_pairs(b, n, wide);
  ptrdiff_t r = 0;
  for (; r + CK_PAIR_ROWS <= rows; r += CK_PAIR_ROWS)
    pair_rows(CK_PAIR_ROWS, 1, x + r * xs, xs, 0, wide, n, sums + r * CK_PANEL);
  for (; r + 2 <= rows; r += 2) pair_rows(2, 1, x + r * xs, xs, 0, wide, n, sums + r * CK_PANEL);
  for (; r < rows; r++) pair_rows(1, 1, x + r * xs, xs, 0, wide, n, sums + r * CK_PANEL);
}
