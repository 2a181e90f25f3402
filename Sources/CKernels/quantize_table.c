#include "CKernels.h"

#define FORMAT(NAME, ISA)                                 \
  void ck_encode_##NAME##_##ISA(const ck_block_task *);   \
  void ck_decode_##NAME##_##ISA(const uint8_t *, ptrdiff_t, float *);

#define FUNCTIONS(KIND, ISA)                                                                                       \
  {ck_##KIND##_q4_0_##ISA, ck_##KIND##_q4_1_##ISA, ck_##KIND##_q5_0_##ISA, ck_##KIND##_q5_1_##ISA,                 \
   ck_##KIND##_q8_0_##ISA, ck_##KIND##_q2_k_##ISA, ck_##KIND##_q3_k_##ISA, ck_##KIND##_q4_k_##ISA,                 \
   ck_##KIND##_q5_k_##ISA, ck_##KIND##_q6_k_##ISA}

#define TABLE(ISA)                                                                                                 \
  FORMAT(q4_0, ISA)                                                                                                \
  FORMAT(q4_1, ISA)                                                                                                \
  FORMAT(q5_0, ISA)                                                                                                \
  FORMAT(q5_1, ISA)                                                                                                \
  FORMAT(q8_0, ISA)                                                                                                \
  FORMAT(q2_k, ISA)                                                                                                \
  FORMAT(q3_k, ISA)                                                                                                \
  FORMAT(q4_k, ISA)                                                                                                \
  FORMAT(q5_k, ISA)                                                                                                \
  FORMAT(q6_k, ISA)                                                                                                \
  float ck_magnitude_##ISA(const float *, ptrdiff_t);                                                              \
  void ck_difference_##ISA(const float *, const float *, ptrdiff_t, float *);                                      \
  void ck_widen_bf16_##ISA(const uint16_t *, float *, ptrdiff_t);                                                  \
  void ck_widen_f16_##ISA(const uint16_t *, float *, ptrdiff_t);                                                   \
  static const ck_block_table blocks_##ISA = {                                                                     \
      .encode = FUNCTIONS(encode, ISA),                                                                            \
      .decode = FUNCTIONS(decode, ISA),                                                                            \
      .magnitude = ck_magnitude_##ISA,                                                                             \
      .difference = ck_difference_##ISA,                                                                           \
      .widen_bf16 = ck_widen_bf16_##ISA,                                                                           \
      .widen_f16 = ck_widen_f16_##ISA,                                                                             \
  };

TABLE(portable)

#if defined(__x86_64__)
TABLE(avx2)
TABLE(avx512)
#endif

const ck_block_table *ck_block_table_for(int32_t instruction_set) {
  if (!ck_table_for(instruction_set)) return 0;
  if (instruction_set == CK_PORTABLE) return &blocks_portable;
#if defined(__x86_64__)
  if (instruction_set == CK_AVX2) return &blocks_avx2;
  if (instruction_set == CK_AVX512) return &blocks_avx512;
#endif
  return 0;
}
