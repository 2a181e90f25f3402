// Vectors of 16 floats in plain C.
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "half.h"

#define ISA(name) name##_portable
#define CK_TOKENS 4
#define CK_INLINE static inline __attribute__((always_inline))

typedef struct v16 {
  float lane[16];
} v16;

#define CK_EACH for (int i = 0; i < 16; i++)

/// Swaps lane `j` of `rows[i]` with lane `i` of `rows[j]`.
CK_INLINE void v_transpose(v16 rows[16]) {
  for (int i = 0; i < 16; i++)
    for (int j = 0; j < i; j++) {
      float lane = rows[i].lane[j];
      rows[i].lane[j] = rows[j].lane[i];
      rows[j].lane[i] = lane;
    }
}
CK_INLINE v16 v_set(float a) { v16 r; CK_EACH r.lane[i] = a; return r; }
CK_INLINE v16 v_zero(void) { return v_set(0); }
CK_INLINE v16 v_load(const float *p) { v16 r; memcpy(&r, p, sizeof r); return r; }
CK_INLINE void v_store(float *p, v16 a) { memcpy(p, &a, sizeof a); }
CK_INLINE v16 v_load_bf16(const uint16_t *p) {
  v16 r;
  CK_EACH { uint32_t bits = (uint32_t)p[i] << 16; memcpy(&r.lane[i], &bits, 4); }
  return r;
}
CK_INLINE v16 v_load_f16(const uint16_t *p) { v16 r; CK_EACH r.lane[i] = ck_half_to_float(p[i]); return r; }
CK_INLINE void v_store_f16(uint16_t *p, v16 a) { CK_EACH p[i] = ck_float_to_half(a.lane[i]); }
CK_INLINE v16 v_load_u8(const uint8_t *p) { v16 r; CK_EACH r.lane[i] = (float)p[i]; return r; }
/// Codes over CK_I8_UNIT.
#define CK_I8_UNIT 1.0f
CK_INLINE v16 v_load_i8(const int8_t *p) { v16 r; CK_EACH r.lane[i] = (float)p[i]; return r; }
CK_INLINE v16 v_load_i32(const int32_t *p) { v16 r; CK_EACH r.lane[i] = (float)p[i]; return r; }
/// The lower or the upper four bits of 16 bytes.
CK_INLINE v16 v_nibbles(const uint8_t *p, int high) {
  v16 r;
  CK_EACH r.lane[i] = (float)(high ? p[i] >> 4 : p[i] & 15);
  return r;
}
/// E4M3 codes other than NaN, times 2^-8: their bits, moved, are a half.
CK_INLINE v16 v_load_e4m3(const uint8_t *p) {
  v16 r;
  CK_EACH r.lane[i] = ck_half_to_float((uint16_t)((p[i] & 128) << 8 | (p[i] & 127) << 7));
  return r;
}
/// Exponents that compact bf16 counts from, one a row.
typedef struct v_exponents {
  uint8_t lane[16];
} v_exponents;
CK_INLINE v_exponents v_load_exponents(const uint8_t *p) { v_exponents r; memcpy(&r, p, sizeof r); return r; }
/// Columns 2 * pair and 2 * pair + 1 of a step of compact bf16.
CK_INLINE void v_load_compact(const uint8_t *step, int pair, v_exponents base, v16 *even, v16 *odd) {
  for (int j = 0; j < 2; j++)
    CK_EACH {
      uint16_t distances;
      memcpy(&distances, step + 4 * i + 2 * j, 2);
      const uint32_t code = step[64 + 32 * pair + 2 * i + j];
      const uint32_t exponent = (base.lane[i] - (distances >> 4 * pair & 15u)) & 0xFF;
      const uint32_t bits = (code & 0x80) << 24 | exponent << 23 | (code & 0x7F) << 16;
      memcpy(j ? &odd->lane[i] : &even->lane[i], &bits, 4);
    }
}
/// Code `column % 4` of each of the 16 rows; `high` takes the upper nibbles.
CK_INLINE v16 v_codes_q8(const uint8_t *p, int column) { v16 r; CK_EACH r.lane[i] = (float)p[i * 4 + column]; return r; }
CK_INLINE v16 v_codes_q4(const uint8_t *p, int column, int high) {
  v16 r;
  CK_EACH r.lane[i] = (float)(high ? p[i * 4 + column] >> 4 : p[i * 4 + column] & 15);
  return r;
}
CK_INLINE v16 v_add(v16 a, v16 b) { CK_EACH a.lane[i] += b.lane[i]; return a; }
CK_INLINE v16 v_sub(v16 a, v16 b) { CK_EACH a.lane[i] -= b.lane[i]; return a; }
CK_INLINE v16 v_mul(v16 a, v16 b) { CK_EACH a.lane[i] *= b.lane[i]; return a; }
CK_INLINE v16 v_div(v16 a, v16 b) { CK_EACH a.lane[i] /= b.lane[i]; return a; }
CK_INLINE v16 v_fma(v16 a, v16 b, v16 c) { CK_EACH c.lane[i] = fmaf(a.lane[i], b.lane[i], c.lane[i]); return c; }
CK_INLINE v16 v_max(v16 a, v16 b) { CK_EACH a.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; return a; }
CK_INLINE v16 v_min(v16 a, v16 b) { CK_EACH a.lane[i] = a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; return a; }
/// The nearest integer, ties to even, for |a| < 2^22; the sign of a zero is not the same everywhere.
CK_INLINE v16 v_round(v16 a) { CK_EACH a.lane[i] = (a.lane[i] + 12582912.0f) - 12582912.0f; return a; }
CK_INLINE v16 v_abs(v16 a) { CK_EACH a.lane[i] = fabsf(a.lane[i]); return a; }
CK_INLINE v16 v_copysign(v16 a, v16 sign) { CK_EACH a.lane[i] = copysignf(a.lane[i], sign.lane[i]); return a; }
/// a < b ? x : y
CK_INLINE v16 v_select_lt(v16 a, v16 b, v16 x, v16 y) {
  CK_EACH x.lane[i] = a.lane[i] < b.lane[i] ? x.lane[i] : y.lane[i];
  return x;
}
/// 2^n for whole n in -126...127; 1 for NaN.
CK_INLINE v16 v_power2(v16 n) {
  CK_EACH {
    int32_t exponent = n.lane[i] >= -126.0f && n.lane[i] <= 127.0f ? (int32_t)n.lane[i] : 0;
    uint32_t bits = (uint32_t)(exponent + 127) << 23;
    memcpy(&n.lane[i], &bits, 4);
  }
  return n;
}
/// ((0 + 8) + (4 + 12)) + ...: the tree that halves the vector.
CK_INLINE float v_sum(v16 a) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; i++) a.lane[i] += a.lane[i + half];
  return a.lane[0];
}
CK_INLINE float v_maximum(v16 a) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; i++) a.lane[i] = a.lane[i] > a.lane[i + half] ? a.lane[i] : a.lane[i + half];
  return a.lane[0];
}
/// The larger of `bits` and the bit patterns of |a|, lane by lane folded to one number.
CK_INLINE uint32_t v_magnitude_bits(v16 a) {
  uint32_t bits = 0;
  CK_EACH {
    uint32_t lane;
    memcpy(&lane, &a.lane[i], 4);
    lane &= 0x7FFFFFFF;
    if (lane > bits) bits = lane;
  }
  return bits;
}
/// Stores the whole parts of a, |a| < 128, as int8.
CK_INLINE void v_truncate_i8(int8_t *p, v16 a) { CK_EACH p[i] = (int8_t)a.lane[i]; }
/// The nearest f16, ties to even; not for NaN.
CK_INLINE uint16_t v_half(float a) { return ck_float_to_half(a); }
/// Stores the integers nearest to a (ties to even, |a| <= 127) as int8 and returns their sum.
CK_INLINE int32_t v_store_i8(int8_t *p, v16 a) {
  int32_t sum = 0;
  v16 rounded = v_round(a);
  CK_EACH { p[i] = (int8_t)rounded.lane[i]; sum += p[i]; }
  return sum;
}

/// Whole numbers of 16 bits.
CK_INLINE void v_store_i16(int16_t *p, v16 x) { CK_EACH p[i] = (int16_t)x.lane[i]; }

/// 16 lanes of two numbers of 16 bits each, and sums of their products.
typedef struct v_pairs {
  int16_t number[32];
} v_pairs;
typedef struct v_sums {
  int32_t lane[16];
} v_sums;
/// Rows of products at a time.
#define CK_PAIR_ROWS 4

/// Two columns of 16 codes, or one with zeros beside it.
CK_INLINE v_pairs v_pairs_of(const int8_t *b, int has_second) {
  v_pairs r;
  CK_EACH r.number[2 * i] = b[i], r.number[2 * i + 1] = has_second ? b[16 + i] : 0;
  return r;
}
CK_INLINE v_pairs v_load_pairs(const int16_t *p) { v_pairs r; memcpy(&r, p, sizeof r); return r; }
CK_INLINE void v_store_pairs(int16_t *p, v_pairs x) { memcpy(p, &x, sizeof x); }
CK_INLINE v_sums v_no_sums(void) { v_sums r = {{0}}; return r; }
/// Adds the products of each lane's pair with the same two numbers, exactly.
CK_INLINE v_sums v_add_products(v_sums sums, v_pairs pairs, const int16_t *numbers) {
  CK_EACH sums.lane[i] += pairs.number[2 * i] * numbers[0] + pairs.number[2 * i + 1] * numbers[1];
  return sums;
}
CK_INLINE void v_store_sums(int32_t *p, v_sums x) { memcpy(p, &x, sizeof x); }
