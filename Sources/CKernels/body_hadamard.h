// Products of blocks of a vector with Hadamard matrices over the square root of their size, which are their own inverses.
// Included after a vector header.

/// Sums and differences of the elements of 16 that lie 1, 2, 4 and 8 apart.
CK_INLINE void hadamard_16(float *v) {
  for (ptrdiff_t half = 1; half < 16; half *= 2) {
    float next[16];
    for (ptrdiff_t i = 0; i < 16; i++) next[i] = i & half ? v[i - half] - v[i] : v[i] + v[i + half];
    memcpy(v, next, sizeof next);
  }
}

/// Multiplies blocks of `block` numbers, a power of two; what is left after the last whole one stays.
CK_INLINE void rotate(float *x, ptrdiff_t count, ptrdiff_t block) {
  float factor = 1;
  for (ptrdiff_t size = block; size >= 4; size /= 4) factor *= 0.5f;
  ptrdiff_t bits = 0;
  for (ptrdiff_t size = block; size > 1; size /= 2) bits++;
  if (bits & 1) factor *= 0x1.6a09e6p-1f;
  for (ptrdiff_t start = 0; start + block <= count; start += block) {
    float *v = x + start;
    ptrdiff_t half = 1;
    if (block >= 16)
      for (ptrdiff_t i = 0; i < block; i += 16) hadamard_16(v + i);
    for (half = block >= 16 ? 16 : 1; half < block; half *= 2)
      for (ptrdiff_t i = 0; i < block; i += 2 * half) {
        ptrdiff_t j = i;
        for (; j + 16 <= i + half; j += 16) {
          v16 a = v_load(v + j), b = v_load(v + j + half);
          v_store(v + j, v_add(a, b));
          v_store(v + j + half, v_sub(a, b));
        }
        for (; j < i + half; j++) {
          float a = v[j], b = v[j + half];
          v[j] = a + b;
          v[j + half] = a - b;
        }
      }
    for (ptrdiff_t i = 0; i < block; i++) v[i] *= factor;
  }
}
