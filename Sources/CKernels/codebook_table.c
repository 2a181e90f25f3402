#include "CKernels.h"

#define DECLARE(ISA)                                                                                                 \
  void ck_levels_sums_##ISA(const float *, const float *, const float *, const float *, ptrdiff_t, const float *,    \
                            ptrdiff_t, float *, float *);                                                            \
  void ck_levels_codes_##ISA(const float *, const float *, ptrdiff_t, float, uint8_t *);                             \
  void ck_codebook_sums_##ISA(const float *, ptrdiff_t, ptrdiff_t, const float *, const float *, float *, float *);  \
  int32_t ck_codebook_best_##ISA(const float *, const float *, ptrdiff_t, float, float *);                           \
  static const ck_codebook_table table_##ISA = {                                                                     \
      .levels_sums = ck_levels_sums_##ISA,                                                                           \
      .levels_codes = ck_levels_codes_##ISA,                                                                         \
      .codebook_sums = ck_codebook_sums_##ISA,                                                                       \
      .codebook_best = ck_codebook_best_##ISA,                                                                       \
  };

DECLARE(portable)
#if defined(__x86_64__)
DECLARE(avx2)
DECLARE(avx512)
#endif

const ck_codebook_table *ck_codebook_table_for(int32_t instruction_set) {
  if (!ck_table_for(instruction_set)) return 0;
  switch (instruction_set) {
    case CK_PORTABLE: return &table_portable;
#if defined(__x86_64__)
    case CK_AVX2: return &table_avx2;
    case CK_AVX512: return &table_avx512;
#endif
    default: return 0;
  }
}
