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
    float rounded[CK_PANEL];
    v_store(rounded, zero != 0 ? v_zero() : v_round(v_mul(v_load(x + i), inverse)));
    for (ptrdiff_t j = 0; j < CK_PANEL; j++) to[i + j] = (int16_t)rounded[j];
  }
  return zero != 0 ? __builtin_nanf("") : largest < 0x1p-100f ? 0 : largest * (1.0f / 32767);
}

#if defined(CK_IS_PORTABLE)
/// Columns in pairs: for every two of them and each of 16 lanes two numbers.
CK_INLINE void widen_pairs(const int8_t *b, ptrdiff_t n, int16_t *wide) {
  for (ptrdiff_t k = 0; k < n; k += 2)
    for (ptrdiff_t i = 0; i < CK_PANEL; i++) {
      wide[k * CK_PANEL + 2 * i] = b[k * CK_PANEL + i];
      wide[k * CK_PANEL + 2 * i + 1] = k + 1 < n ? b[(k + 1) * CK_PANEL + i] : 0;
    }
}
CK_INLINE void pair_rows(const int T, const int is_wide, const int16_t *x, ptrdiff_t xs, const int8_t *b,
                         const int16_t *wide, ptrdiff_t n, int32_t *sums) {
  for (int t = 0; t < T; t++)
    for (ptrdiff_t i = 0; i < CK_PANEL; i++) {
      int32_t sum = 0;
      for (ptrdiff_t k = 0; k < n; k++)
        sum += x[t * xs + k] * (is_wide ? wide[k / 2 * 32 + 2 * i + k % 2] : b[k * CK_PANEL + i]);
      sums[t * CK_PANEL + i] = sum;
    }
}
#else
typedef struct column_pair {
  __m256i low, high;
} column_pair;

/// Two columns of codes as pairs of 16 bits, of the first and the last eight lanes.
CK_INLINE column_pair load_pair(const int8_t *b, int has_second) {
  __m128i first = _mm_loadu_si128((const __m128i *)(const void *)b);
  __m128i second = has_second ? _mm_loadu_si128((const __m128i *)(const void *)(b + CK_PANEL)) : _mm_setzero_si128();
  column_pair pair = {_mm256_cvtepi8_epi16(_mm_unpacklo_epi8(first, second)),
                      _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(first, second))};
  return pair;
}
CK_INLINE void widen_pairs(const int8_t *b, ptrdiff_t n, int16_t *wide) {
  for (ptrdiff_t k = 0; k < n; k += 2) {
    column_pair pair = load_pair(b + k * CK_PANEL, k + 1 < n);
    _mm256_storeu_si256((__m256i *)(void *)(wide + k * CK_PANEL), pair.low);
    _mm256_storeu_si256((__m256i *)(void *)(wide + k * CK_PANEL + CK_PANEL), pair.high);
  }
}
CK_INLINE __m256i two_numbers(const int16_t *x) {
  int32_t word;
  memcpy(&word, x, 4);
  return _mm256_set1_epi32(word);
}
/// sums[t][lane] = sum over k < n of x[t][k] * b[k][lane], from codes or from columns in pairs. Reads a number behind an odd n.
CK_INLINE void pair_rows(const int T, const int is_wide, const int16_t *x, ptrdiff_t xs, const int8_t *b,
                         const int16_t *wide, ptrdiff_t n, int32_t *sums) {
  __m256i sum[4][2];
  CK_UNROLL for (int t = 0; t < T; t++) sum[t][0] = sum[t][1] = _mm256_setzero_si256();
  const ptrdiff_t whole = is_wide ? n : n & ~(ptrdiff_t)1;
  for (ptrdiff_t k = 0; k < n; k += 2) {
    column_pair pair;
    if (is_wide) {
      pair.low = _mm256_loadu_si256((const __m256i *)(const void *)(wide + k * CK_PANEL));
      pair.high = _mm256_loadu_si256((const __m256i *)(const void *)(wide + k * CK_PANEL + CK_PANEL));
    } else {
      pair = load_pair(b + k * CK_PANEL, k < whole);
    }
    CK_UNROLL for (int t = 0; t < T; t++) {
      __m256i numbers = two_numbers(x + t * xs + k);
      sum[t][0] = _mm256_add_epi32(sum[t][0], _mm256_madd_epi16(pair.low, numbers));
      sum[t][1] = _mm256_add_epi32(sum[t][1], _mm256_madd_epi16(pair.high, numbers));
    }
  }
  CK_UNROLL for (int t = 0; t < T; t++) {
    _mm256_storeu_si256((__m256i *)(void *)(sums + t * CK_PANEL), sum[t][0]);
    _mm256_storeu_si256((__m256i *)(void *)(sums + t * CK_PANEL + 8), sum[t][1]);
  }
}
#endif

/// One panel for any number of rows.
static void code_sums(const int16_t *x, ptrdiff_t xs, const int8_t *b, ptrdiff_t n, ptrdiff_t rows, int32_t *sums,
                      int16_t *wide) {
  switch (rows) {
    case 1: pair_rows(1, 0, x, xs, b, 0, n, sums); return;
    case 2: pair_rows(2, 0, x, xs, b, 0, n, sums); return;
    case 3: pair_rows(3, 0, x, xs, b, 0, n, sums); return;
    case 4: pair_rows(4, 0, x, xs, b, 0, n, sums); return;
  }
  widen_pairs(b, n, wide);
  ptrdiff_t r = 0;
  for (; r + 4 <= rows; r += 4) pair_rows(4, 1, x + r * xs, xs, 0, wide, n, sums + r * CK_PANEL);
  for (; r < rows; r++) pair_rows(1, 1, x + r * xs, xs, 0, wide, n, sums + r * CK_PANEL);
}
