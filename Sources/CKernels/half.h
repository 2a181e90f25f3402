// Half precision in plain C, exact.
#ifndef CK_HALF_H
#define CK_HALF_H

#include <stdint.h>
#include <string.h>

static inline float ck_half_to_float(uint16_t half) {
  uint32_t magnitude = half & 0x7FFFu;
  uint32_t bits = magnitude << 13;
  float value;
  if (magnitude >= 0x7C00u) {
    bits |= 0x7F800000u;
    if (magnitude > 0x7C00u) bits |= 0x00400000u;
    memcpy(&value, &bits, 4);
  } else {
    memcpy(&value, &bits, 4);
    value *= 0x1p112f;
    memcpy(&bits, &value, 4);
  }
  bits |= (uint32_t)(half & 0x8000u) << 16;
  memcpy(&value, &bits, 4);
  return value;
}

static inline uint16_t ck_float_to_half(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  uint32_t sign = (bits >> 16) & 0x8000u;
  uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return (uint16_t)(sign | 0x7E00u | ((magnitude >> 13) & 0x3FFu));
  if (magnitude >= 0x47800000u) return (uint16_t)(sign | 0x7C00u);
  if (magnitude < 0x38800000u) {
    // Subnormal: adding 0.5 lets the adder round at the right place.
    float scaled;
    memcpy(&scaled, &magnitude, 4);
    scaled += 0.5f;
    uint32_t rounded;
    memcpy(&rounded, &scaled, 4);
    return (uint16_t)(sign | (rounded - 0x3F000000u));
  }
  uint32_t rounded = magnitude + 0xFFFu + ((magnitude >> 13) & 1u) - 0x38000000u;
  return (uint16_t)(sign | (rounded >> 13));
}

#endif
