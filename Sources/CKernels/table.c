#include "CKernels.h"

#define DECLARE(ISA)                                                                                                 \
  void ck_linear_f32_f32_##ISA(const ck_panels *, const float *, ptrdiff_t, ptrdiff_t, const float *, float *,       \
                               ptrdiff_t, ptrdiff_t, ptrdiff_t, float *);                                            \
  void ck_linear_bf16_f32_##ISA(const ck_panels *, const float *, ptrdiff_t, ptrdiff_t, const float *, float *,      \
                                ptrdiff_t, ptrdiff_t, ptrdiff_t, float *);                                           \
  void ck_linear_f16_f32_##ISA(const ck_panels *, const float *, ptrdiff_t, ptrdiff_t, const float *, float *,       \
                               ptrdiff_t, ptrdiff_t, ptrdiff_t, float *);                                            \
  void ck_linear_q8_f32_##ISA(const ck_panels *, const float *, ptrdiff_t, ptrdiff_t, const float *, float *,        \
                              ptrdiff_t, ptrdiff_t, ptrdiff_t, float *);                                             \
  void ck_linear_q4_f32_##ISA(const ck_panels *, const float *, ptrdiff_t, ptrdiff_t, const float *, float *,        \
                              ptrdiff_t, ptrdiff_t, ptrdiff_t, float *);                                             \
  void ck_linear_e4m3_f32_##ISA(const ck_panels *, const float *, ptrdiff_t, ptrdiff_t, const float *, float *,      \
                                ptrdiff_t, ptrdiff_t, ptrdiff_t, float *);                                           \
  void ck_linear_compact_bf16_f32_##ISA(const ck_panels *, const float *, ptrdiff_t, ptrdiff_t, const float *,       \
                                        float *, ptrdiff_t, ptrdiff_t, ptrdiff_t, float *);                          \
  void ck_linear_q8_i8_##ISA(const ck_panels *, const ck_quantized *, ptrdiff_t, const float *, float *, ptrdiff_t,  \
                             ptrdiff_t, ptrdiff_t);                                                                  \
  void ck_linear_q4_i8_##ISA(const ck_panels *, const ck_quantized *, ptrdiff_t, const float *, float *, ptrdiff_t,  \
                             ptrdiff_t, ptrdiff_t);                                                                  \
  void ck_quantize_f32_i8_##ISA(const float *, ptrdiff_t, ptrdiff_t, ptrdiff_t, float, float, float, int8_t *,       \
                                float *, int32_t *);                                                                 \
  void ck_round_f32_e4m3_##ISA(const float *, ptrdiff_t, ptrdiff_t, float, float *);                                 \
  void ck_outliers_q8_##ISA(const ck_panels *, const float *, float, float *, ptrdiff_t, ptrdiff_t);                 \
  void ck_outliers_q4_##ISA(const ck_panels *, const float *, float, float *, ptrdiff_t, ptrdiff_t);                 \
  void ck_add_f32_f32_##ISA(const float *, const float *, float *, ptrdiff_t);                                       \
  void ck_multiply_f32_f32_##ISA(const float *, const float *, float *, ptrdiff_t);                                  \
  void ck_scale_f32_f32_##ISA(const float *, float, float *, ptrdiff_t);                                             \
  void ck_silu_f32_f32_##ISA(const float *, float *, ptrdiff_t);                                                     \
  void ck_gelu_f32_f32_##ISA(const float *, float *, ptrdiff_t);                                                     \
  void ck_relu_f32_f32_##ISA(const float *, float *, ptrdiff_t);                                                     \
  void ck_sigmoid_f32_f32_##ISA(const float *, float *, ptrdiff_t);                                                  \
  void ck_gelu_sigmoid_f32_f32_##ISA(const float *, float *, ptrdiff_t);                                             \
  void ck_layer_norm_f32_f32_##ISA(const float *, const float *, const float *, float, float *, ptrdiff_t);          \
  void ck_clamp_f32_f32_##ISA(const float *, float, float, float *, ptrdiff_t);                                      \
  void ck_add_scaled_f32_f32_##ISA(const float *, float, float *, ptrdiff_t);                                        \
  void ck_gelu_tanh_f32_f32_##ISA(const float *, float *, ptrdiff_t);                                                \
  void ck_swiglu_f32_f32_##ISA(const float *, const float *, float *, ptrdiff_t);                                    \
  void ck_hadamard_f32_f32_##ISA(const float *, ptrdiff_t, float *, ptrdiff_t);                                      \
  void ck_softcap_f32_f32_##ISA(const float *, float, float *, ptrdiff_t);                                           \
  void ck_rms_norm_f32_f32_##ISA(const float *, const float *, float, float *, ptrdiff_t);                           \
  void ck_add_rms_norm_f32_f32_##ISA(const float *, const float *, const float *, float, float *, float *,           \
                                     ptrdiff_t);                                                                     \
  void ck_rope_f32_f32_##ISA(const float *, const float *, ptrdiff_t, ptrdiff_t, ptrdiff_t, int32_t, float *);       \
  float ck_maximum_f32_f32_##ISA(const float *, ptrdiff_t);                                                          \
  double ck_sum_exp_f32_f32_##ISA(const float *, float, ptrdiff_t);                                                  \
  void ck_exp_f32_f32_##ISA(const float *, float, float, float *, ptrdiff_t);                                        \
  void ck_narrow_f32_f16_##ISA(const float *, uint16_t *, ptrdiff_t);                                                \
  void ck_attention_f32_##ISA(const ck_attention *);                                                                 \
  void ck_store_kv_f32_##ISA(const ck_store *);

void ck_fit_i8_avx2(const int8_t *, ptrdiff_t, ptrdiff_t, ptrdiff_t, int8_t *, ck_excess *, ptrdiff_t, int32_t *,
                    ck_fitted_row *, int32_t *);

#define TABLE(ISA, FIT)                                                                                              \
  static const ck_table table_##ISA = {                                                                              \
      .linear_f32 = {ck_linear_f32_f32_##ISA, ck_linear_bf16_f32_##ISA, ck_linear_f16_f32_##ISA,                     \
                     ck_linear_q8_f32_##ISA, ck_linear_q4_f32_##ISA, ck_linear_e4m3_f32_##ISA,                       \
                     ck_linear_compact_bf16_f32_##ISA},                                                              \
      .linear_i8 = {0, 0, 0, ck_linear_q8_i8_##ISA, ck_linear_q4_i8_##ISA, 0, 0},                                    \
      .fit = FIT,                                                                                                    \
      .quantize = ck_quantize_f32_i8_##ISA,                                                                          \
      .round_e4m3 = ck_round_f32_e4m3_##ISA,                                                                         \
      .outliers_q8 = ck_outliers_q8_##ISA,                                                                           \
      .outliers_q4 = ck_outliers_q4_##ISA,                                                                           \
      .add = ck_add_f32_f32_##ISA,                                                                                   \
      .multiply = ck_multiply_f32_f32_##ISA,                                                                         \
      .scale = ck_scale_f32_f32_##ISA,                                                                               \
      .silu = ck_silu_f32_f32_##ISA,                                                                                 \
      .gelu = ck_gelu_f32_f32_##ISA,                                                                                 \
      .relu = ck_relu_f32_f32_##ISA,                                                                                 \
      .sigmoid = ck_sigmoid_f32_f32_##ISA,                                                                           \
      .gelu_sigmoid = ck_gelu_sigmoid_f32_f32_##ISA,                                                                 \
      .layer_norm = ck_layer_norm_f32_f32_##ISA,                                                                     \
      .clamp = ck_clamp_f32_f32_##ISA,                                                                               \
      .add_scaled = ck_add_scaled_f32_f32_##ISA,                                                                     \
      .gelu_tanh = ck_gelu_tanh_f32_f32_##ISA,                                                                       \
      .swiglu = ck_swiglu_f32_f32_##ISA,                                                                             \
      .hadamard = ck_hadamard_f32_f32_##ISA,                                                                         \
      .softcap = ck_softcap_f32_f32_##ISA,                                                                           \
      .rms_norm = ck_rms_norm_f32_f32_##ISA,                                                                         \
      .add_rms_norm = ck_add_rms_norm_f32_f32_##ISA,                                                                 \
      .rope = ck_rope_f32_f32_##ISA,                                                                                 \
      .maximum = ck_maximum_f32_f32_##ISA,                                                                           \
      .sum_exp = ck_sum_exp_f32_f32_##ISA,                                                                           \
      .exp = ck_exp_f32_f32_##ISA,                                                                                   \
      .narrow_f16 = ck_narrow_f32_f16_##ISA,                                                                         \
      .attention = ck_attention_f32_##ISA,                                                                           \
      .store = ck_store_kv_f32_##ISA,                                                                                \
  };

DECLARE(portable)
TABLE(portable, 0)

#if defined(__x86_64__)
DECLARE(avx2)
TABLE(avx2, ck_fit_i8_avx2)
DECLARE(avx512)
TABLE(avx512, 0)
#endif

const ck_table *ck_table_for(int32_t instruction_set) {
  if (instruction_set == CK_PORTABLE) return &table_portable;
#if defined(__x86_64__)
  __builtin_cpu_init();
  int has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  if (instruction_set == CK_AVX2 && has_avx2) return &table_avx2;
  int has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512vnni");
  if (instruction_set == CK_AVX512 && has_avx512) return &table_avx512;
#endif
  return 0;
}

ptrdiff_t ck_attention_scratch(ptrdiff_t rows, ptrdiff_t head_dimension, ptrdiff_t padded_dimension) {
  ptrdiff_t wide = CK_PANEL * (head_dimension > CK_KEY_TILE ? head_dimension : CK_KEY_TILE);
  ptrdiff_t stride = (head_dimension + CK_PANEL - 1) / CK_PANEL * CK_PANEL;
  return rows * (2 * stride + 2 * CK_KEY_TILE + padded_dimension + CK_PANEL + 1) + wide;
}
