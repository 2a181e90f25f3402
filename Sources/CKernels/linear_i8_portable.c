#define CK_IS_PORTABLE
#pragma STDC FP_CONTRACT OFF
#include "vector_portable.h"

#include "body_grid.h"

enum { CK_I8_TOKENS = 4 };
#define CK_Q8_BIAS 0.0f

CK_INLINE void dots_q8(const int T, const uint8_t *codes, const int8_t *x, ptrdiff_t xs, ptrdiff_t n, v16 *dot) {
  for (int t = 0; t < T; t++) {
    int32_t sum[16] = {0};
    for (ptrdiff_t k = 0; k < n; k++)
      for (int i = 0; i < 16; i++) sum[i] += codes[(k / 4) * 64 + i * 4 + k % 4] * x[t * xs + k];
    for (int i = 0; i < 16; i++) dot[t].lane[i] = (float)sum[i];
  }
}

CK_INLINE void dots_q4(const int T, const uint8_t *codes, const int8_t *x, ptrdiff_t xs, ptrdiff_t n, v16 *dot) {
  for (int t = 0; t < T; t++) {
    int32_t sum[16] = {0};
    for (ptrdiff_t k = 0; k < n; k += 8)
      for (int j = 0; j < 4; j++)
        for (int i = 0; i < 16; i++) {
          uint8_t pair = codes[k * 8 + i * 4 + j];
          sum[i] += (pair & 15) * x[t * xs + k + j] + (pair >> 4) * x[t * xs + k + 4 + j];
        }
    for (int i = 0; i < 16; i++) dot[t].lane[i] = (float)sum[i];
  }
}

CK_INLINE void four_dots_q8(const uint8_t *codes, ptrdiff_t stride, ptrdiff_t ahead, const int8_t *x, ptrdiff_t n,
                            v16 *dot) {
  (void)ahead;
  for (int p = 0; p < 4; p++) dots_q8(1, codes + p * stride, x, 0, n, dot + p);
}

CK_INLINE void four_dots_q4(const uint8_t *codes, ptrdiff_t stride, ptrdiff_t ahead, const int8_t *x, ptrdiff_t n,
                            v16 *dot) {
  (void)ahead;
  for (int p = 0; p < 4; p++) dots_q4(1, codes + p * stride, x, 0, n, dot + p);
}

#include "body_linear_i8.h"
#include "vector_end.h"
