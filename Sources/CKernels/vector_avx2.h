// Vectors of 16 floats as two AVX2 registers.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ISA(name) name##_avx2
#define CK_TOKENS 6
#define CK_INLINE static inline __attribute__((always_inline))

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)

typedef struct v16 {
  __m256 a, b;
} v16;

CK_INLINE v16 v_make(__m256 a, __m256 b) { v16 r = {a, b}; return r; }
CK_INLINE void v_transpose_eight(__m256 rows[8]) {
  __m256 pairs[8], fours[8];
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
  }
  for (int i = 0; i < 8; i += 4)
    for (int k = 0; k < 2; k++) {
      fours[i + 2 * k] = _mm256_shuffle_ps(pairs[i + k], pairs[i + 2 + k], 0x44);
      fours[i + 2 * k + 1] = _mm256_shuffle_ps(pairs[i + k], pairs[i + 2 + k], 0xee);
    }
  for (int k = 0; k < 4; k++) {
    rows[k] = _mm256_permute2f128_ps(fours[k], fours[4 + k], 0x20);
    rows[4 + k] = _mm256_permute2f128_ps(fours[k], fours[4 + k], 0x31);
  }
}
/// Swaps lane `j` of `rows[i]` with lane `i` of `rows[j]`.
CK_INLINE void v_transpose(v16 rows[16]) {
  __m256 quarters[4][8];
  for (int i = 0; i < 16; i++) {
    quarters[i / 8 * 2][i % 8] = rows[i].a;
    quarters[i / 8 * 2 + 1][i % 8] = rows[i].b;
  }
  for (int i = 0; i < 4; i++) v_transpose_eight(quarters[i]);
  for (int i = 0; i < 8; i++) {
    rows[i] = v_make(quarters[0][i], quarters[2][i]);
    rows[8 + i] = v_make(quarters[1][i], quarters[3][i]);
  }
}
CK_INLINE v16 v_set(float a) { return v_make(_mm256_set1_ps(a), _mm256_set1_ps(a)); }
CK_INLINE v16 v_zero(void) { return v_make(_mm256_setzero_ps(), _mm256_setzero_ps()); }
CK_INLINE v16 v_load(const float *p) { return v_make(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)); }
CK_INLINE void v_store(float *p, v16 v) { _mm256_storeu_ps(p, v.a); _mm256_storeu_ps(p + 8, v.b); }
CK_INLINE __m256 v_widen_bf16(const uint16_t *p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}
CK_INLINE v16 v_load_bf16(const uint16_t *p) { return v_make(v_widen_bf16(p), v_widen_bf16(p + 8)); }
CK_INLINE __m256 v_widen_f16(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
CK_INLINE v16 v_load_f16(const uint16_t *p) { return v_make(v_widen_f16(p), v_widen_f16(p + 8)); }
CK_INLINE void v_store_f16(uint16_t *p, v16 v) {
  _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(v.a, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128((__m128i *)(p + 8), _mm256_cvtps_ph(v.b, _MM_FROUND_TO_NEAREST_INT));
}
CK_INLINE v16 v_load_u8(const uint8_t *p) {
  __m128i bytes = _mm_loadu_si128((const __m128i *)p);
  return v_make(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)),
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8))));
}
CK_INLINE v16 v_load_i32(const int32_t *p) {
  return v_make(_mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)(const void *)p)),
                _mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)(const void *)(p + 8))));
}
/// Codes times 2^24: each becomes the upper byte of a word, which takes one instruction less than extending its sign.
#define CK_I8_UNIT 0x1p-24f
CK_INLINE v16 v_load_i8(const int8_t *p) {
  const __m256i low = _mm256_setr_epi8(-1, -1, -1, 0, -1, -1, -1, 1, -1, -1, -1, 2, -1, -1, -1, 3,
                                       -1, -1, -1, 4, -1, -1, -1, 5, -1, -1, -1, 6, -1, -1, -1, 7);
  const __m256i high = _mm256_setr_epi8(-1, -1, -1, 8, -1, -1, -1, 9, -1, -1, -1, 10, -1, -1, -1, 11,
                                        -1, -1, -1, 12, -1, -1, -1, 13, -1, -1, -1, 14, -1, -1, -1, 15);
  __m256i bytes = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p));
  return v_make(_mm256_cvtepi32_ps(_mm256_shuffle_epi8(bytes, low)),
                _mm256_cvtepi32_ps(_mm256_shuffle_epi8(bytes, high)));
}
CK_INLINE __m256 v_nibble_half(__m128i bytes, int high) {
  __m256i words = _mm256_cvtepu8_epi32(bytes);
  return _mm256_cvtepi32_ps(high ? _mm256_srli_epi32(words, 4) : _mm256_and_si256(words, _mm256_set1_epi32(15)));
}
CK_INLINE v16 v_nibbles(const uint8_t *p, int high) {
  __m128i bytes = _mm_loadu_si128((const __m128i *)p);
  return v_make(v_nibble_half(bytes, high), v_nibble_half(_mm_srli_si128(bytes, 8), high));
}
CK_INLINE v16 v_load_e4m3(const uint8_t *p) {
  __m256i words = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
  __m256i sign = _mm256_slli_epi16(_mm256_and_si256(words, _mm256_set1_epi16(128)), 8);
  __m256i rest = _mm256_slli_epi16(_mm256_and_si256(words, _mm256_set1_epi16(127)), 7);
  __m256i halves = _mm256_or_si256(sign, rest);
  return v_make(_mm256_cvtph_ps(_mm256_castsi256_si128(halves)), _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1)));
}
/// Exponents that compact bf16 counts from, in both halves of the lane of their row.
typedef struct v_exponents {
  __m256i a, b;
} v_exponents;
CK_INLINE __m256i v_exponents_half(const uint8_t *p) {
  __m256i lanes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
  return _mm256_or_si256(_mm256_slli_epi32(lanes, 7), _mm256_slli_epi32(lanes, 23));
}
CK_INLINE v_exponents v_load_exponents(const uint8_t *p) {
  v_exponents r = {v_exponents_half(p), v_exponents_half(p + 8)};
  return r;
}
CK_INLINE __m256i v_compact_half(const uint8_t *distances, const uint8_t *bytes, int pair, __m256i base) {
  __m256i words = _mm256_loadu_si256((const __m256i *)distances);
  words = pair < 2 ? _mm256_slli_epi16(words, 7 - 4 * pair) : _mm256_srli_epi16(words, 4 * pair - 7);
  __m256i exponents = _mm256_sub_epi16(base, _mm256_and_si256(words, _mm256_set1_epi16(0x0780)));
  __m256i codes = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)bytes));
  return _mm256_or_si256(exponents, _mm256_and_si256(codes, _mm256_set1_epi16((short)0x807f)));
}
CK_INLINE void v_load_compact(const uint8_t *step, int pair, v_exponents base, v16 *even, v16 *odd) {
  __m256i a = v_compact_half(step, step + 64 + 32 * pair, pair, base.a);
  __m256i b = v_compact_half(step + 32, step + 80 + 32 * pair, pair, base.b);
  const __m256i upper = _mm256_set1_epi32((int)0xffff0000);
  *even = v_make(_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(b, 16)));
  *odd = v_make(_mm256_castsi256_ps(_mm256_and_si256(a, upper)), _mm256_castsi256_ps(_mm256_and_si256(b, upper)));
}
CK_INLINE __m256 v_byte(const uint8_t *p, int shift, int mask) {
  __m256i words = _mm256_loadu_si256((const __m256i *)p);
  return _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32(words, shift), _mm256_set1_epi32(mask)));
}
CK_INLINE v16 v_codes_q8(const uint8_t *p, int column) {
  return v_make(v_byte(p, column * 8, 255), v_byte(p + 32, column * 8, 255));
}
CK_INLINE v16 v_codes_q4(const uint8_t *p, int column, int high) {
  return v_make(v_byte(p, column * 8 + high * 4, 15), v_byte(p + 32, column * 8 + high * 4, 15));
}
CK_INLINE v16 v_add(v16 x, v16 y) { return v_make(_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)); }
CK_INLINE v16 v_sub(v16 x, v16 y) { return v_make(_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)); }
CK_INLINE v16 v_mul(v16 x, v16 y) { return v_make(_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)); }
CK_INLINE v16 v_div(v16 x, v16 y) { return v_make(_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)); }
CK_INLINE v16 v_fma(v16 x, v16 y, v16 z) {
  return v_make(_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b));
}
CK_INLINE v16 v_max(v16 x, v16 y) { return v_make(_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)); }
CK_INLINE v16 v_min(v16 x, v16 y) { return v_make(_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)); }
CK_INLINE v16 v_round(v16 x) { return (v16){_mm256_round_ps(x.a, 0x08), _mm256_round_ps(x.b, 0x08)}; }
CK_INLINE v16 v_abs(v16 x) {
  __m256 sign = _mm256_set1_ps(-0.0f);
  return v_make(_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b));
}
CK_INLINE v16 v_copysign(v16 x, v16 s) {
  __m256 sign = _mm256_set1_ps(-0.0f);
  v16 magnitude = v_abs(x);
  return v_make(_mm256_or_ps(magnitude.a, _mm256_and_ps(sign, s.a)), _mm256_or_ps(magnitude.b, _mm256_and_ps(sign, s.b)));
}
CK_INLINE v16 v_select_lt(v16 a, v16 b, v16 x, v16 y) {
  return v_make(_mm256_blendv_ps(y.a, x.a, _mm256_cmp_ps(a.a, b.a, _CMP_LT_OQ)),
                _mm256_blendv_ps(y.b, x.b, _mm256_cmp_ps(a.b, b.b, _CMP_LT_OQ)));
}
CK_INLINE __m256 v_power2_half(__m256 n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
CK_INLINE v16 v_power2(v16 n) { return v_make(v_power2_half(n.a), v_power2_half(n.b)); }
CK_INLINE float v_sum(v16 v) {
  __m256 eight = _mm256_add_ps(v.a, v.b);
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
CK_INLINE float v_maximum(v16 v) {
  __m256 eight = _mm256_max_ps(v.a, v.b);
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}
CK_INLINE uint32_t v_magnitude_bits(v16 v) {
  v16 m = v_abs(v);
  __m256i eight = _mm256_max_epi32(_mm256_castps_si256(m.a), _mm256_castps_si256(m.b));
  __m128i four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  __m128i two = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4E));
  return (uint32_t)_mm_cvtsi128_si32(_mm_max_epi32(two, _mm_shuffle_epi32(two, 0xB1)));
}
CK_INLINE void v_truncate_i8(int8_t *p, v16 v) {
  __m256i words = _mm256_packs_epi32(_mm256_cvttps_epi32(v.a), _mm256_cvttps_epi32(v.b));
  words = _mm256_permute4x64_epi64(words, 0xD8);
  _mm_storeu_si128((__m128i *)p, _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}
CK_INLINE uint16_t v_half(float a) { return _cvtss_sh(a, _MM_FROUND_TO_NEAREST_INT); }
CK_INLINE int32_t v_store_i8(int8_t *p, v16 v) {
  __m256i a = _mm256_cvtps_epi32(v.a), b = _mm256_cvtps_epi32(v.b);
  __m128i words_a = _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  __m128i words_b = _mm_packs_epi32(_mm256_castsi256_si128(b), _mm256_extracti128_si256(b, 1));
  _mm_storeu_si128((__m128i *)p, _mm_packs_epi16(words_a, words_b));
  __m128i four = _mm_madd_epi16(_mm_add_epi16(words_a, words_b), _mm_set1_epi16(1));
  __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xB1)));
}

/// Whole numbers of 16 bits.
CK_INLINE void v_store_i16(int16_t *p, v16 x) {
  __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b));
  _mm256_storeu_si256((__m256i *)(void *)p, _mm256_permute4x64_epi64(words, 0xd8));
}

/// 16 lanes of two numbers of 16 bits each, and sums of their products.
typedef struct v_pairs {
  __m256i low, high;
} v_pairs;
typedef v_pairs v_sums;
/// Rows of products that registers hold.
#define CK_PAIR_ROWS 4

/// Two columns of 16 codes, or one with zeros beside it.
CK_INLINE v_pairs v_pairs_of(const int8_t *b, int has_second) {
  __m128i first = _mm_loadu_si128((const __m128i *)(const void *)b);
  __m128i second = has_second ? _mm_loadu_si128((const __m128i *)(const void *)(b + 16)) : _mm_setzero_si128();
  v_pairs pairs = {_mm256_cvtepi8_epi16(_mm_unpacklo_epi8(first, second)),
                   _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(first, second))};
  return pairs;
}
CK_INLINE v_pairs v_load_pairs(const int16_t *p) {
  v_pairs pairs = {_mm256_loadu_si256((const __m256i *)(const void *)p),
                   _mm256_loadu_si256((const __m256i *)(const void *)(p + 16))};
  return pairs;
}
CK_INLINE void v_store_pairs(int16_t *p, v_pairs x) {
  _mm256_storeu_si256((__m256i *)(void *)p, x.low);
  _mm256_storeu_si256((__m256i *)(void *)(p + 16), x.high);
}
CK_INLINE v_sums v_no_sums(void) {
  v_sums sums = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  return sums;
}
/// Adds the products of each lane's pair with the same two numbers, exactly.
CK_INLINE v_sums v_add_products(v_sums sums, v_pairs pairs, const int16_t *numbers) {
  int32_t word;
  memcpy(&word, numbers, 4);
  __m256i two = _mm256_set1_epi32(word);
  sums.low = _mm256_add_epi32(sums.low, _mm256_madd_epi16(pairs.low, two));
  sums.high = _mm256_add_epi32(sums.high, _mm256_madd_epi16(pairs.high, two));
  return sums;
}
CK_INLINE void v_store_sums(int32_t *p, v_sums x) { v_store_pairs((int16_t *)(void *)p, x); }
