// Vectors of 16 floats as one AVX-512 register.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ISA(name) name##_avx512
#define CK_TOKENS 12
#define CK_INLINE static inline __attribute__((always_inline))

#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c"))), \
                             apply_to = function)

typedef __m512 v16;

/// Swaps lane `j` of `rows[i]` with lane `i` of `rows[j]`.
CK_INLINE void v_transpose(v16 rows[16]) {
  __m512 pairs[16], fours[16], eights[16];
  for (int i = 0; i < 16; i += 2) {
    pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)
    for (int k = 0; k < 2; k++) {
      __m512d a = _mm512_castps_pd(pairs[i + k]), b = _mm512_castps_pd(pairs[i + 2 + k]);
      fours[i + 2 * k] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
      fours[i + 2 * k + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
    }
  // fours[i + k]: columns k, k + 4, k + 8 and k + 12 of rows i to i + 3.
  for (int k = 0; k < 4; k++)
    for (int half = 0; half < 2; half++) {
      __m512 a = fours[half * 8 + k], b = fours[half * 8 + 4 + k];
      eights[half * 8 + k] = _mm512_shuffle_f32x4(a, b, 0x88);
      eights[half * 8 + 4 + k] = _mm512_shuffle_f32x4(a, b, 0xdd);
    }
  for (int k = 0; k < 8; k++) {
    rows[k] = _mm512_shuffle_f32x4(eights[k], eights[8 + k], 0x88);
    rows[8 + k] = _mm512_shuffle_f32x4(eights[k], eights[8 + k], 0xdd);
  }
}

CK_INLINE v16 v_set(float a) { return _mm512_set1_ps(a); }
CK_INLINE v16 v_zero(void) { return _mm512_setzero_ps(); }
CK_INLINE v16 v_load(const float *p) { return _mm512_loadu_ps(p); }
CK_INLINE void v_store(float *p, v16 v) { _mm512_storeu_ps(p, v); }
CK_INLINE v16 v_load_bf16(const uint16_t *p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
CK_INLINE v16 v_load_f16(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
CK_INLINE void v_store_f16(uint16_t *p, v16 v) {
  _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
CK_INLINE v16 v_load_u8(const uint8_t *p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
CK_INLINE v16 v_load_i32(const int32_t *p) { return _mm512_cvtepi32_ps(_mm512_loadu_si512(p)); }
/// Codes over CK_I8_UNIT.
#define CK_I8_UNIT 1.0f
CK_INLINE v16 v_load_i8(const int8_t *p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
CK_INLINE v16 v_nibbles(const uint8_t *p, int high) {
  __m512i words = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
  return _mm512_cvtepi32_ps(high ? _mm512_srli_epi32(words, 4) : _mm512_and_si512(words, _mm512_set1_epi32(15)));
}
CK_INLINE v16 v_load_e4m3(const uint8_t *p) {
  __m256i words = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
  __m256i sign = _mm256_slli_epi16(_mm256_and_si256(words, _mm256_set1_epi16(128)), 8);
  __m256i rest = _mm256_slli_epi16(_mm256_and_si256(words, _mm256_set1_epi16(127)), 7);
  return _mm512_cvtph_ps(_mm256_or_si256(sign, rest));
}
/// Exponents that compact bf16 counts from, in both halves of the lane of their row.
typedef __m512i v_exponents;
CK_INLINE v_exponents v_load_exponents(const uint8_t *p) {
  __m512i lanes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
  return _mm512_or_si512(_mm512_slli_epi32(lanes, 7), _mm512_slli_epi32(lanes, 23));
}
CK_INLINE void v_load_compact(const uint8_t *step, int pair, v_exponents base, v16 *even, v16 *odd) {
  __m512i words = _mm512_loadu_si512((const void *)step);
  words = pair < 2 ? _mm512_slli_epi16(words, (unsigned)(7 - 4 * pair)) : _mm512_srli_epi16(words, (unsigned)(4 * pair - 7));
  __m512i exponents = _mm512_sub_epi16(base, _mm512_and_si512(words, _mm512_set1_epi16(0x0780)));
  __m512i codes = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(step + 64 + 32 * pair)));
  // codes & 0x807f | exponents
  __m512i both = _mm512_ternarylogic_epi32(codes, _mm512_set1_epi16((short)0x807f), exponents, 0xEA);
  *even = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
  *odd = _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32((int)0xffff0000)));
}
CK_INLINE v16 v_byte(const uint8_t *p, int shift, int mask) {
  __m512i words = _mm512_loadu_si512((const void *)p);
  return _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_srli_epi32(words, (unsigned)shift), _mm512_set1_epi32(mask)));
}
CK_INLINE v16 v_codes_q8(const uint8_t *p, int column) { return v_byte(p, column * 8, 255); }
CK_INLINE v16 v_codes_q4(const uint8_t *p, int column, int high) { return v_byte(p, column * 8 + high * 4, 15); }
CK_INLINE v16 v_add(v16 x, v16 y) { return _mm512_add_ps(x, y); }
CK_INLINE v16 v_sub(v16 x, v16 y) { return _mm512_sub_ps(x, y); }
CK_INLINE v16 v_mul(v16 x, v16 y) { return _mm512_mul_ps(x, y); }
CK_INLINE v16 v_div(v16 x, v16 y) { return _mm512_div_ps(x, y); }
CK_INLINE v16 v_fma(v16 x, v16 y, v16 z) { return _mm512_fmadd_ps(x, y, z); }
CK_INLINE v16 v_max(v16 x, v16 y) { return _mm512_max_ps(x, y); }
CK_INLINE v16 v_min(v16 x, v16 y) { return _mm512_min_ps(x, y); }
CK_INLINE v16 v_round(v16 x) { return _mm512_roundscale_ps(x, 0x08); }
CK_INLINE v16 v_abs(v16 x) { return _mm512_abs_ps(x); }
CK_INLINE v16 v_copysign(v16 x, v16 s) {
  __m512i sign = _mm512_set1_epi32((int)0x80000000u);
  return _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(_mm512_abs_ps(x)),
                                             _mm512_and_si512(sign, _mm512_castps_si512(s))));
}
CK_INLINE v16 v_select_lt(v16 a, v16 b, v16 x, v16 y) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}
CK_INLINE v16 v_power2(v16 n) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}
CK_INLINE float v_sum(v16 v) {
  __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
CK_INLINE float v_maximum(v16 v) {
  __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}
CK_INLINE uint32_t v_magnitude_bits(v16 v) {
  return (uint32_t)_mm512_reduce_max_epi32(_mm512_castps_si512(_mm512_abs_ps(v)));
}
CK_INLINE void v_truncate_i8(int8_t *p, v16 v) {
  _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(v)));
}
CK_INLINE uint16_t v_half(float a) { return _cvtss_sh(a, _MM_FROUND_TO_NEAREST_INT); }
CK_INLINE int32_t v_store_i8(int8_t *p, v16 v) {
  __m512i words = _mm512_cvtps_epi32(v);
  _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(words));
  return _mm512_reduce_add_epi32(words);
}

/// Whole numbers of 16 bits.
CK_INLINE void v_store_i16(int16_t *p, v16 x) {
  _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(x)));
}

/// 16 lanes of two numbers of 16 bits each, and sums of their products.
typedef __m512i v_pairs;
typedef __m512i v_sums;
/// Rows of products that registers hold.
#define CK_PAIR_ROWS 8

/// Two columns of 16 codes, or one with zeros beside it.
CK_INLINE v_pairs v_pairs_of(const int8_t *b, int has_second) {
  __m128i first = _mm_loadu_si128((const __m128i *)(const void *)b);
  __m128i second = has_second ? _mm_loadu_si128((const __m128i *)(const void *)(b + 16)) : _mm_setzero_si128();
  return _mm512_cvtepi8_epi16(_mm256_set_m128i(_mm_unpackhi_epi8(first, second), _mm_unpacklo_epi8(first, second)));
}
CK_INLINE v_pairs v_load_pairs(const int16_t *p) { return _mm512_loadu_si512((const void *)p); }
CK_INLINE void v_store_pairs(int16_t *p, v_pairs x) { _mm512_storeu_si512((void *)p, x); }
CK_INLINE v_sums v_no_sums(void) { return _mm512_setzero_si512(); }
/// Adds the products of each lane's pair with the same two numbers, exactly.
CK_INLINE v_sums v_add_products(v_sums sums, v_pairs pairs, const int16_t *numbers) {
  int32_t word;
  memcpy(&word, numbers, 4);
  return _mm512_dpwssd_epi32(sums, pairs, _mm512_set1_epi32(word));
}
CK_INLINE void v_store_sums(int32_t *p, v_sums x) { _mm512_storeu_si512((void *)p, x); }
