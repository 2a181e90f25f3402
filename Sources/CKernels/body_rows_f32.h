// Operations on rows of floats. Included after a vector header and body_math.h.
#include <math.h>

#include "CKernels.h"

/// The first `count` < 16 elements, then zeros.
CK_INLINE v16 load_part(const float *p, ptrdiff_t count) {
  float buffer[16] = {0};
  memcpy(buffer, p, (size_t)count * sizeof(float));
  return v_load(buffer);
}
CK_INLINE void store_part(float *p, v16 v, ptrdiff_t count) {
  float buffer[16];
  v_store(buffer, v);
  memcpy(p, buffer, (size_t)count * sizeof(float));
}

#define CK_ELEMENTWISE(NAME, PARAMETERS, LOADS, PART_LOADS, VALUE)                                                   \
  void ISA(NAME) PARAMETERS {                                                                                        \
    ptrdiff_t i = 0;                                                                                                 \
    for (; i + 16 <= count; i += 16) {                                                                               \
      LOADS;                                                                                                         \
      v_store(y + i, VALUE);                                                                                         \
    }                                                                                                                \
    if (i < count) {                                                                                                 \
      PART_LOADS;                                                                                                    \
      store_part(y + i, VALUE, count - i);                                                                           \
    }                                                                                                                \
  }
#define CK_UNARY(NAME, VALUE)                                                                                        \
  CK_ELEMENTWISE(NAME, (const float *x, float *y, ptrdiff_t count), v16 a = v_load(x + i),                           \
                 v16 a = load_part(x + i, count - i), VALUE)
#define CK_UNARY_SCALAR(NAME, VALUE)                                                                                 \
  CK_ELEMENTWISE(NAME, (const float *x, float scalar, float *y, ptrdiff_t count), v16 a = v_load(x + i),             \
                 v16 a = load_part(x + i, count - i), VALUE)
#define CK_BINARY(NAME, VALUE)                                                                                       \
  CK_ELEMENTWISE(NAME, (const float *p, const float *q, float *y, ptrdiff_t count),                                  \
                 v16 a = v_load(p + i);                                                                              \
                 v16 b = v_load(q + i), v16 a = load_part(p + i, count - i);                                         \
                 v16 b = load_part(q + i, count - i), VALUE)

CK_BINARY(ck_add_f32_f32, v_add(a, b))
CK_BINARY(ck_multiply_f32_f32, v_mul(a, b))
CK_BINARY(ck_swiglu_f32_f32, v_mul(v_silu(a), b))
CK_UNARY_SCALAR(ck_scale_f32_f32, v_mul(a, v_set(scalar)))
CK_UNARY_SCALAR(ck_softcap_f32_f32, v_mul(v_set(scalar), v_tanh(v_div(a, v_set(scalar)))))
CK_UNARY(ck_silu_f32_f32, v_silu(a))
CK_UNARY(ck_relu_f32_f32, v_max(a, v_zero()))
CK_UNARY(ck_sigmoid_f32_f32, v_sigmoid(a))
CK_UNARY(ck_gelu_sigmoid_f32_f32, v_mul(a, v_sigmoid(v_mul(v_set(1.702f), a))))
CK_UNARY(ck_gelu_f32_f32, v_gelu(a))
CK_UNARY(ck_gelu_tanh_f32_f32, v_gelu_tanh(a))

CK_ELEMENTWISE(ck_exp_f32_f32, (const float *x, float reference, float factor, float *y, ptrdiff_t count),
               v16 a = v_load(x + i), v16 a = load_part(x + i, count - i),
               v_mul(v_exp(v_sub(a, v_set(reference))), v_set(factor)))

/// Sixteen partial sums of squares, folded once.
CK_INLINE float inverse_rms(const float *x, float epsilon, ptrdiff_t count) {
  v16 sum = v_zero();
  ptrdiff_t i = 0;
  for (; i + 16 <= count; i += 16) {
    v16 a = v_load(x + i);
    sum = v_fma(a, a, sum);
  }
  if (i < count) {
    v16 a = load_part(x + i, count - i);
    sum = v_fma(a, a, sum);
  }
  return 1.0f / sqrtf(v_sum(sum) / (float)count + epsilon);
}

void ISA(ck_rms_norm_f32_f32)(const float *x, const float *weight, float epsilon, float *y, ptrdiff_t count) {
  v16 factor = v_set(inverse_rms(x, epsilon, count));
  ptrdiff_t i = 0;
  for (; i + 16 <= count; i += 16) v_store(y + i, v_mul(v_mul(v_load(x + i), factor), v_load(weight + i)));
  if (i < count)
    store_part(y + i, v_mul(v_mul(load_part(x + i, count - i), factor), load_part(weight + i, count - i)), count - i);
}

/// Sixteen partial sums, then sixteen partial sums of squared differences from the mean.
void ISA(ck_layer_norm_f32_f32)(const float *x, const float *weight, const float *bias, float epsilon, float *y,
                                ptrdiff_t count) {
  v16 sum = v_zero(), squares = v_zero();
  ptrdiff_t i = 0;
  for (; i + 16 <= count; i += 16) sum = v_add(sum, v_load(x + i));
  if (i < count) sum = v_add(sum, load_part(x + i, count - i));
  float mean = v_sum(sum) / (float)count;
  v16 center = v_set(mean);
  for (i = 0; i + 16 <= count; i += 16) {
    v16 a = v_sub(v_load(x + i), center);
    squares = v_fma(a, a, squares);
  }
  if (i < count) {
    float buffer[16] = {0};
    for (ptrdiff_t j = i; j < count; j++) buffer[j - i] = x[j] - mean;
    v16 a = v_load(buffer);
    squares = v_fma(a, a, squares);
  }
  v16 factor = v_set(1.0f / sqrtf(v_sum(squares) / (float)count + epsilon));
  for (i = 0; i < count; i += 16) {
    ptrdiff_t rest = count - i;
    v16 a = rest >= 16 ? v_load(x + i) : load_part(x + i, rest);
    v16 gain = rest >= 16 ? v_load(weight + i) : load_part(weight + i, rest);
    v16 shift = !bias ? v_zero() : rest >= 16 ? v_load(bias + i) : load_part(bias + i, rest);
    v16 value = v_add(v_mul(v_mul(v_sub(a, center), factor), gain), shift);
    if (rest >= 16) v_store(y + i, value);
    else store_part(y + i, value, rest);
  }
}

/// min(max(x, minimum), maximum); NaN stays.
void ISA(ck_clamp_f32_f32)(const float *x, float minimum, float maximum, float *y, ptrdiff_t count) {
  for (ptrdiff_t i = 0; i < count; i++) {
    float a = x[i] < minimum ? minimum : x[i];
    y[i] = a > maximum ? maximum : a;
  }
}

/// y += factor * x, product and sum rounded.
void ISA(ck_add_scaled_f32_f32)(const float *x, float scalar, float *y, ptrdiff_t count) {
  ptrdiff_t i = 0;
  v16 factor = v_set(scalar);
  for (; i + 16 <= count; i += 16) v_store(y + i, v_add(v_load(y + i), v_mul(v_load(x + i), factor)));
  if (i < count) {
    v16 sum = v_add(load_part(y + i, count - i), v_mul(load_part(x + i, count - i), factor));
    store_part(y + i, sum, count - i);
  }
}

void ISA(ck_add_rms_norm_f32_f32)(const float *a, const float *b, const float *weight, float epsilon, float *sum,
                                  float *y, ptrdiff_t count) {
  ISA(ck_add_f32_f32)(a, b, sum, count);
  ISA(ck_rms_norm_f32_f32)(sum, weight, epsilon, y, count);
}

/// (a, b) -> (a cos - b sin, b cos + a sin), every product and sum rounded.
void ISA(ck_rope_f32_f32)(const float *x, const float *table, ptrdiff_t heads, ptrdiff_t head_dimension,
                          ptrdiff_t pairs, int32_t interleaved, float *y) {
  const float *cosines = table, *sines = table + pairs;
  for (ptrdiff_t h = 0; h < heads; h++, x += head_dimension, y += head_dimension) {
    ptrdiff_t i = 0;
    if (interleaved) {
      for (; i < pairs; i++) {
        float a = x[2 * i], b = x[2 * i + 1];
        y[2 * i] = a * cosines[i] - b * sines[i];
        y[2 * i + 1] = b * cosines[i] + a * sines[i];
      }
    } else {
      for (; i + 16 <= pairs; i += 16) {
        v16 a = v_load(x + i), b = v_load(x + pairs + i), c = v_load(cosines + i), s = v_load(sines + i);
        v_store(y + i, v_sub(v_mul(a, c), v_mul(b, s)));
        v_store(y + pairs + i, v_add(v_mul(b, c), v_mul(a, s)));
      }
      for (; i < pairs; i++) {
        float a = x[i], b = x[pairs + i];
        y[i] = a * cosines[i] - b * sines[i];
        y[pairs + i] = b * cosines[i] + a * sines[i];
      }
    }
    if (x != y && 2 * pairs < head_dimension)
      memcpy(y + 2 * pairs, x + 2 * pairs, (size_t)(head_dimension - 2 * pairs) * sizeof(float));
  }
}

float ISA(ck_maximum_f32_f32)(const float *x, ptrdiff_t count) {
  v16 best = v_set(-__builtin_inff());
  ptrdiff_t i = 0;
  for (; i + 16 <= count; i += 16) best = v_max(v_load(x + i), best);
  float result = v_maximum(best);
  for (; i < count; i++) result = x[i] > result ? x[i] : result;
  return result;
}

/// Sixteen partial sums over 1024 elements at a time, folded and added in double.
double ISA(ck_sum_exp_f32_f32)(const float *x, float reference, ptrdiff_t count) {
  double total = 0;
  v16 shift = v_set(reference);
  for (ptrdiff_t i = 0; i < count;) {
    v16 sum = v_zero();
    ptrdiff_t end = i + 1024 < count ? i + 1024 : count;
    for (; i + 16 <= end; i += 16) sum = v_add(sum, v_exp(v_sub(v_load(x + i), shift)));
    if (i < end) {
      float buffer[16];
      for (ptrdiff_t j = 0; j < 16; j++) buffer[j] = i + j < end ? x[i + j] : -__builtin_inff();
      sum = v_add(sum, v_exp(v_sub(v_load(buffer), shift)));
      i = end;
    }
    total += (double)v_sum(sum);
  }
  return total;
}

void ISA(ck_narrow_f32_f16)(const float *x, uint16_t *y, ptrdiff_t count) {
  ptrdiff_t i = 0;
  for (; i + 16 <= count; i += 16) v_store_f16(y + i, v_load(x + i));
  if (i < count) {
    uint16_t buffer[16];
    v_store_f16(buffer, load_part(x + i, count - i));
    memcpy(y + i, buffer, (size_t)(count - i) * sizeof(uint16_t));
  }
}

/// Numbers at or beyond the threshold, and NaN, become zero: another kernel takes them. 0: no threshold.
CK_INLINE v16 below(v16 v, float threshold) {
  return threshold > 0 ? v_select_lt(v_abs(v), v_set(threshold), v, v_zero()) : v;
}

/// The largest magnitude, as bits, so that NaN counts.
CK_INLINE uint32_t largest_bits(const float *x, ptrdiff_t count, float threshold) {
  uint32_t bits = 0;
  for (ptrdiff_t i = 0; i < count; i += 16) {
    uint32_t now = v_magnitude_bits(below(count - i >= 16 ? v_load(x + i) : load_part(x + i, count - i), threshold));
    bits = now > bits ? now : bits;
  }
  return bits;
}

/// A static scale that is given, or absmax / most; codes are x / scale to nearest even, at most `most`. A block too small for a
/// normal scale becomes zero; one with infinities or NaN gets the scale NaN, so that they show in the result.
CK_INLINE void quantize_block(const float *x, ptrdiff_t count, ptrdiff_t length, uint32_t bits, float most, float fixed,
                              float threshold, int8_t *codes, float *scale, int32_t *sum) {
  float largest, factor = 0;
  memcpy(&largest, &bits, 4);
  *scale = fixed > 0 ? fixed : largest / most;
  if (bits >= 0x7F800000u) *scale = __builtin_nanf("");
  else if (*scale < 0x1p-126f) *scale = 0;
  else factor = fixed > 0 ? 1.0f / fixed : most / largest;
  *sum = 0;
  // Only a static scale has numbers beyond it.
  v16 high = v_set(most), low = v_set(-most);
  for (ptrdiff_t i = 0; i < length; i += 16) {
    v16 v = v_zero();
    if (factor > 0 && i < count) {
      v = below(count - i >= 16 ? v_load(x + i) : load_part(x + i, count - i), threshold);
      v = v_mul(v, v_set(factor));
      if (fixed > 0) v = v_max(v_min(v, high), low);
    }
    *sum += v_store_i8(codes + i, v);
  }
}

/// Every `scale_columns` columns, whole blocks or a row, share a scale; all of them `fixed` when that is more than 0.
void ISA(ck_quantize_f32_i8)(const float *x, ptrdiff_t columns, ptrdiff_t block_length, ptrdiff_t scale_columns, float most,
                             float fixed, float threshold, int8_t *codes, float *scales, int32_t *sums) {
  uint32_t bits = 0;
  for (ptrdiff_t start = 0, block = 0; start < columns; start += block_length, block++) {
    ptrdiff_t count = columns - start < block_length ? columns - start : block_length;
    if (start % scale_columns == 0)
      bits = largest_bits(x + start, columns - start < scale_columns ? columns - start : scale_columns, threshold);
    quantize_block(x + start, count, block_length, bits, most, fixed, threshold, codes + start, scales + block,
                   sums + block);
  }
}

/// Rounds a row to E4M3 and back: a scale of absmax / 448 for every `length` numbers, or `fixed` for all when that is more
/// than 0; numbers beyond it become the largest. What is not finite becomes NaN.
void ISA(ck_round_f32_e4m3)(const float *x, ptrdiff_t columns, ptrdiff_t length, float fixed, float *y) {
  for (ptrdiff_t start = 0; start < columns; start += length) {
    ptrdiff_t count = columns - start < length ? columns - start : length;
    uint32_t bits = largest_bits(x + start, count, 0);
    float largest;
    memcpy(&largest, &bits, 4);
    float scale = bits >= 0x7F800000u ? __builtin_nanf("") : fixed > 0 ? fixed : largest / 448.0f;
    if (scale < 0x1p-126f) {
      memset(y + start, 0, (size_t)count * sizeof(float));
      continue;
    }
    for (ptrdiff_t i = 0; i < count; i++) {
      // Rounding to a multiple of an eighth of the power of two below, and of 2^-9 for small ones.
      float value = x[start + i] / scale, magnitude = value < 0 ? -value : value;
      if (magnitude > 448.0f) magnitude = 448.0f;
      uint32_t power;
      memcpy(&power, &magnitude, 4);
      power = power < 0x3C800000u ? 0x3C800000u : power & 0x7F800000u;
      float step;
      memcpy(&step, &power, 4);
      float large = step * 0x1.8p20f;
      magnitude = (magnitude + large) - large;
      y[start + i] = (value < 0 ? -magnitude : magnitude) * scale;
    }
  }
}

void ISA(ck_hadamard_f32_f32)(const float *x, ptrdiff_t block, float *y, ptrdiff_t count) {
  if (y != x) memcpy(y, x, (size_t)count * sizeof(float));
  rotate(y, count, block);
}
