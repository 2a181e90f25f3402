#if defined(__x86_64__)
#pragma STDC FP_CONTRACT OFF
#include "vector_avx512.h"

#include "body_grid.h"

enum { CK_I8_TOKENS = 12 };
#define CK_Q8_BIAS 0.0f

CK_INLINE __m512i four(const int8_t *x) {
  int32_t word;
  memcpy(&word, x, 4);
  return _mm512_set1_epi32(word);
}

CK_INLINE void dots_q8(const int T, const uint8_t *codes, const int8_t *x, ptrdiff_t xs, ptrdiff_t n, v16 *dot) {
  __m512i sum[CK_I8_TOKENS];
  _Pragma("clang loop unroll(full)") for (int t = 0; t < T; t++) sum[t] = _mm512_setzero_si512();
  for (ptrdiff_t k = 0; k < n; k += 4, codes += 64) {
    __m512i w = _mm512_loadu_si512((const void *)codes);
    _Pragma("clang loop unroll(full)") for (int t = 0; t < T; t++) sum[t] =
        _mm512_dpbusd_epi32(sum[t], w, four(x + t * xs + k));
  }
  _Pragma("clang loop unroll(full)") for (int t = 0; t < T; t++) dot[t] = _mm512_cvtepi32_ps(sum[t]);
}

CK_INLINE void dots_q4(const int T, const uint8_t *codes, const int8_t *x, ptrdiff_t xs, ptrdiff_t n, v16 *dot) {
  const __m512i mask = _mm512_set1_epi8(15);
  __m512i sum[CK_I8_TOKENS];
  _Pragma("clang loop unroll(full)") for (int t = 0; t < T; t++) sum[t] = _mm512_setzero_si512();
  for (ptrdiff_t k = 0; k < n; k += 8, codes += 64) {
    __m512i w = _mm512_loadu_si512((const void *)codes);
    __m512i low = _mm512_and_si512(w, mask), high = _mm512_and_si512(_mm512_srli_epi16(w, 4), mask);
    _Pragma("clang loop unroll(full)") for (int t = 0; t < T; t++) {
      sum[t] = _mm512_dpbusd_epi32(sum[t], low, four(x + t * xs + k));
      sum[t] = _mm512_dpbusd_epi32(sum[t], high, four(x + t * xs + k + 4));
    }
  }
  _Pragma("clang loop unroll(full)") for (int t = 0; t < T; t++) dot[t] = _mm512_cvtepi32_ps(sum[t]);
}

/// The same for one token and four panels, line by line in turn: four streams from memory bring more than one. Each line that is
/// read has another one fetched, `ahead` bytes on.
CK_INLINE void four_dots_q8(const uint8_t *codes, ptrdiff_t stride, ptrdiff_t ahead, const int8_t *x, ptrdiff_t n,
                            v16 *dot) {
  __m512i sum[4];
  _Pragma("clang loop unroll(full)") for (int p = 0; p < 4; p++) sum[p] = _mm512_setzero_si512();
  for (ptrdiff_t k = 0; k < n; k += 4, codes += 64) {
    __m512i a = four(x + k);
    _Pragma("clang loop unroll(full)") for (int p = 0; p < 4; p++) {
      __builtin_prefetch(codes + p * stride + ahead, 0, 2);
      sum[p] = _mm512_dpbusd_epi32(sum[p], _mm512_loadu_si512((const void *)(codes + p * stride)), a);
    }
  }
  _Pragma("clang loop unroll(full)") for (int p = 0; p < 4; p++) dot[p] = _mm512_cvtepi32_ps(sum[p]);
}

CK_INLINE void four_dots_q4(const uint8_t *codes, ptrdiff_t stride, ptrdiff_t ahead, const int8_t *x, ptrdiff_t n,
                            v16 *dot) {
  const __m512i mask = _mm512_set1_epi8(15);
  __m512i sum[4];
  _Pragma("clang loop unroll(full)") for (int p = 0; p < 4; p++) sum[p] = _mm512_setzero_si512();
  for (ptrdiff_t k = 0; k < n; k += 8, codes += 64) {
    __m512i a = four(x + k), b = four(x + k + 4);
    _Pragma("clang loop unroll(full)") for (int p = 0; p < 4; p++) {
      __m512i w = _mm512_loadu_si512((const void *)(codes + p * stride));
      __builtin_prefetch(codes + p * stride + ahead, 0, 2);
      sum[p] = _mm512_dpbusd_epi32(sum[p], _mm512_and_si512(w, mask), a);
      sum[p] = _mm512_dpbusd_epi32(sum[p], _mm512_and_si512(_mm512_srli_epi16(w, 4), mask), b);
    }
  }
  _Pragma("clang loop unroll(full)") for (int p = 0; p < 4; p++) dot[p] = _mm512_cvtepi32_ps(sum[p]);
}

#include "body_linear_i8.h"
#include "vector_end.h"
#endif
