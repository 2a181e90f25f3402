// Cosines and sines for rotary embeddings, the same bits everywhere: no library calls, no contraction.
#pragma STDC FP_CONTRACT OFF
#include "CKernels.h"

/// Sine and cosine of a float32 angle: reduced by multiples of pi/2 in double, then polynomials on [-pi/4, pi/4]
/// (errors 5e-12 and 1e-13 before rounding).
static void sine_cosine(float angle, float *sine, float *cosine) {
  const double magic = 6755399441055744.0;
  double n = ((double)angle * 0x1.45f306dc9c883p-1 + magic) - magic;
  // pi/2 in two parts; the first has 33 bits, so that its product with n is exact for |n| < 2^20.
  double reduced = ((double)angle - n * 0x1.921fb5440p+0) - n * 0x1.0b4611a626331p-34;
  float r = (float)reduced, z = (float)(reduced * reduced);
  float s = ((0x1.6cd5ecp-19f * z - 0x1.a00f94p-13f) * z + 0x1.111108p-7f) * z - 0x1.555556p-3f;
  float c = ((-0x1.242906p-22f * z + 0x1.a01118p-16f) * z - 0x1.6c16b8p-10f) * z + 0x1.555556p-5f;
  float sine_part = r + r * z * s;
  float cosine_part = 1.0f + z * (z * c - 0.5f);
  int quadrant = (int)((long long)n & 3);
  float a = (quadrant & 1) ? cosine_part : sine_part;
  float b = (quadrant & 1) ? sine_part : cosine_part;
  *sine = (quadrant & 2) ? -a : a;
  *cosine = (quadrant == 1 || quadrant == 2) ? -b : b;
}

void ck_rotary_table(int32_t position, const float *frequencies, ptrdiff_t pairs, float magnitude, float *table) {
  for (ptrdiff_t i = 0; i < pairs; i++) {
    float sine, cosine;
    sine_cosine((float)position * frequencies[i], &sine, &cosine);
    table[i] = cosine * magnitude;
    table[pairs + i] = sine * magnitude;
  }
}
