#if defined(__x86_64__)
#pragma STDC FP_CONTRACT OFF
#include "vector_avx2.h"

#include "body_grid.h"

enum { CK_I8_TOKENS = 4 };
/// Codes become signed, since unsigned ones would saturate the 16-bit sums of vpmaddubsw.
#define CK_Q8_BIAS 128.0f

CK_INLINE __m256i four(const int8_t *x) {
  int32_t word;
  memcpy(&word, x, 4);
  return _mm256_set1_epi32(word);
}

/// |code - 128| times the activation with the sign of the code: at most 2 * 128 * 127 in 16 bits.
CK_INLINE void dots_q8(const int T, const uint8_t *codes, const int8_t *x, ptrdiff_t xs, ptrdiff_t n, v16 *dot) {
  const __m256i bias = _mm256_set1_epi8((char)0x80), ones = _mm256_set1_epi16(1);
  __m256i sum[CK_I8_TOKENS][2];
  _Pragma("clang loop unroll(full)") for (int t = 0; t < T; t++) sum[t][0] = sum[t][1] = _mm256_setzero_si256();
  for (ptrdiff_t k = 0; k < n; k += 4, codes += 64) {
    __m256i w0 = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)codes), bias);
    __m256i w1 = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(codes + 32)), bias);
    __m256i m0 = _mm256_abs_epi8(w0), m1 = _mm256_abs_epi8(w1);
    _Pragma("clang loop unroll(full)") for (int t = 0; t < T; t++) {
      __m256i a = four(x + t * xs + k);
      __m256i p0 = _mm256_maddubs_epi16(m0, _mm256_sign_epi8(a, w0));
      __m256i p1 = _mm256_maddubs_epi16(m1, _mm256_sign_epi8(a, w1));
      sum[t][0] = _mm256_add_epi32(sum[t][0], _mm256_madd_epi16(p0, ones));
      sum[t][1] = _mm256_add_epi32(sum[t][1], _mm256_madd_epi16(p1, ones));
    }
  }
  _Pragma("clang loop unroll(full)") for (int t = 0; t < T; t++) dot[t] =
      v_make(_mm256_cvtepi32_ps(sum[t][0]), _mm256_cvtepi32_ps(sum[t][1]));
}

/// Over 32 columns a 16-bit lane takes 16 products of at most 15 * 127: 30480.
CK_INLINE void dots_q4(const int T, const uint8_t *codes, const int8_t *x, ptrdiff_t xs, ptrdiff_t n, v16 *dot) {
  const __m256i mask = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
  __m256i sum[CK_I8_TOKENS][2];
  for (ptrdiff_t k = 0; k < n; k += 32) {
    __m256i part[CK_I8_TOKENS][2];
    _Pragma("clang loop unroll(full)") for (int t = 0; t < T; t++) part[t][0] = part[t][1] = _mm256_setzero_si256();
    // A loop, since unrolled the compiler gathers all products first and runs out of registers.
    _Pragma("clang loop unroll(disable)") for (int u = 0; u < 4; u++, codes += 64) {
      __m256i w0 = _mm256_loadu_si256((const __m256i *)codes), w1 = _mm256_loadu_si256((const __m256i *)(codes + 32));
      __m256i low0 = _mm256_and_si256(w0, mask), high0 = _mm256_and_si256(_mm256_srli_epi16(w0, 4), mask);
      __m256i low1 = _mm256_and_si256(w1, mask), high1 = _mm256_and_si256(_mm256_srli_epi16(w1, 4), mask);
      _Pragma("clang loop unroll(full)") for (int t = 0; t < T; t++) {
        const int8_t *at = x + t * xs + k + 8 * u;
        __m256i a = four(at), b = four(at + 4);
        __m256i p0 = _mm256_maddubs_epi16(low0, a), p1 = _mm256_maddubs_epi16(low1, a);
        part[t][0] = _mm256_add_epi16(part[t][0], p0);
        part[t][1] = _mm256_add_epi16(part[t][1], p1);
        part[t][0] = _mm256_add_epi16(part[t][0], _mm256_maddubs_epi16(high0, b));
        part[t][1] = _mm256_add_epi16(part[t][1], _mm256_maddubs_epi16(high1, b));
      }
    }
    _Pragma("clang loop unroll(full)") for (int t = 0; t < T; t++) {
      __m256i p0 = _mm256_madd_epi16(part[t][0], ones), p1 = _mm256_madd_epi16(part[t][1], ones);
      sum[t][0] = k == 0 ? p0 : _mm256_add_epi32(sum[t][0], p0);
      sum[t][1] = k == 0 ? p1 : _mm256_add_epi32(sum[t][1], p1);
    }
  }
  _Pragma("clang loop unroll(full)") for (int t = 0; t < T; t++) dot[t] =
      v_make(_mm256_cvtepi32_ps(sum[t][0]), _mm256_cvtepi32_ps(sum[t][1]));
}

/// The same for one token and four panels, line by line in turn: four streams from memory bring more than one. Each line that is
/// read has another one fetched, `ahead` bytes on.
CK_INLINE void four_dots_q8(const uint8_t *codes, ptrdiff_t stride, ptrdiff_t ahead, const int8_t *x, ptrdiff_t n,
                            v16 *dot) {
  const __m256i bias = _mm256_set1_epi8((char)0x80), ones = _mm256_set1_epi16(1);
  __m256i sum[4][2];
  _Pragma("clang loop unroll(full)") for (int p = 0; p < 4; p++) sum[p][0] = sum[p][1] = _mm256_setzero_si256();
  _Pragma("clang loop unroll(disable)") for (ptrdiff_t k = 0; k < n; k += 4, codes += 64) {
    __m256i a = four(x + k);
    _Pragma("clang loop unroll(full)") for (int p = 0; p < 4; p++) {
      const __m256i *at = (const __m256i *)(codes + p * stride);
      __builtin_prefetch(codes + p * stride + ahead, 0, 2);
      __m256i w0 = _mm256_xor_si256(_mm256_loadu_si256(at), bias), w1 = _mm256_xor_si256(_mm256_loadu_si256(at + 1), bias);
      __m256i p0 = _mm256_maddubs_epi16(_mm256_abs_epi8(w0), _mm256_sign_epi8(a, w0));
      __m256i p1 = _mm256_maddubs_epi16(_mm256_abs_epi8(w1), _mm256_sign_epi8(a, w1));
      sum[p][0] = _mm256_add_epi32(sum[p][0], _mm256_madd_epi16(p0, ones));
      sum[p][1] = _mm256_add_epi32(sum[p][1], _mm256_madd_epi16(p1, ones));
    }
  }
  _Pragma("clang loop unroll(full)") for (int p = 0; p < 4; p++) dot[p] =
      v_make(_mm256_cvtepi32_ps(sum[p][0]), _mm256_cvtepi32_ps(sum[p][1]));
}

CK_INLINE void four_dots_q4(const uint8_t *codes, ptrdiff_t stride, ptrdiff_t ahead, const int8_t *x, ptrdiff_t n,
                            v16 *dot) {
  const __m256i mask = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
  __m256i sum[4][2];
  for (ptrdiff_t k = 0; k < n; k += 32) {
    __m256i part[4][2];
    _Pragma("clang loop unroll(full)") for (int p = 0; p < 4; p++) part[p][0] = part[p][1] = _mm256_setzero_si256();
    _Pragma("clang loop unroll(disable)") for (int u = 0; u < 4; u++, codes += 64) {
      __m256i a = four(x + k + 8 * u), b = four(x + k + 8 * u + 4);
      _Pragma("clang loop unroll(full)") for (int p = 0; p < 4; p++) {
        __builtin_prefetch(codes + p * stride + ahead, 0, 2);
        _Pragma("clang loop unroll(full)") for (int half = 0; half < 2; half++) {
          __m256i w = _mm256_loadu_si256((const __m256i *)(codes + p * stride) + half);
          __m256i low = _mm256_and_si256(w, mask), high = _mm256_and_si256(_mm256_srli_epi16(w, 4), mask);
          part[p][half] = _mm256_add_epi16(part[p][half], _mm256_maddubs_epi16(low, a));
          part[p][half] = _mm256_add_epi16(part[p][half], _mm256_maddubs_epi16(high, b));
        }
      }
    }
    _Pragma("clang loop unroll(full)") for (int p = 0; p < 4; p++) {
      __m256i p0 = _mm256_madd_epi16(part[p][0], ones), p1 = _mm256_madd_epi16(part[p][1], ones);
      sum[p][0] = k == 0 ? p0 : _mm256_add_epi32(sum[p][0], p0);
      sum[p][1] = k == 0 ? p1 : _mm256_add_epi32(sum[p][1], p1);
    }
  }
  _Pragma("clang loop unroll(full)") for (int p = 0; p < 4; p++) dot[p] =
      v_make(_mm256_cvtepi32_ps(sum[p][0]), _mm256_cvtepi32_ps(sum[p][1]));
}

#define CK_FITTED "fitted_i8_avx2.h"
#include "body_linear_i8.h"
#include "vector_end.h"
#endif
