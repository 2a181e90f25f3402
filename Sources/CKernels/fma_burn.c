// A loop of nothing but fused multiply-adds, to measure what the processor can do at most.
#include "CKernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx2,fma"))) static void burn_avx2(ptrdiff_t repetitions, float *sink) {
  __m256 a[12];
  for (int i = 0; i < 12; i++) a[i] = _mm256_set1_ps((float)i);
  __m256 x = _mm256_set1_ps(sink[0]), y = _mm256_set1_ps(sink[1]);
  for (ptrdiff_t r = 0; r < repetitions * 16; r++) {
    _Pragma("clang loop unroll(full)") for (int i = 0; i < 12; i++) a[i] = _mm256_fmadd_ps(a[i], x, y);
  }
  for (int i = 1; i < 12; i++) a[0] = _mm256_add_ps(a[0], a[i]);
  sink[0] = _mm256_cvtss_f32(a[0]);
}

__attribute__((target("avx512f"))) static void burn_avx512(ptrdiff_t repetitions, float *sink) {
  __m512 a[12];
  for (int i = 0; i < 12; i++) a[i] = _mm512_set1_ps((float)i);
  __m512 x = _mm512_set1_ps(sink[0]), y = _mm512_set1_ps(sink[1]);
  for (ptrdiff_t r = 0; r < repetitions * 8; r++) {
    _Pragma("clang loop unroll(full)") for (int i = 0; i < 12; i++) a[i] = _mm512_fmadd_ps(a[i], x, y);
  }
  for (int i = 1; i < 12; i++) a[0] = _mm512_add_ps(a[0], a[i]);
  sink[0] = _mm512_cvtss_f32(a[0]);
}
#endif

ptrdiff_t ck_fma_burn(int32_t instruction_set, ptrdiff_t repetitions, float *sink) {
#if defined(__x86_64__)
  if (!ck_table_for(instruction_set)) return 0;
  if (instruction_set == CK_AVX2) return burn_avx2(repetitions, sink), repetitions;
  if (instruction_set == CK_AVX512) return burn_avx512(repetitions, sink), repetitions;
#endif
  (void)instruction_set;
  (void)repetitions;
  (void)sink;
  return 0;
}
