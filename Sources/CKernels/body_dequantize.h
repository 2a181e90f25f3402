// Decoders of the GGML blocks in plain C, which the compiler turns into vectors. The order of operations is that of the
// formats' reference decoders: factor times code of the scale, times code, minus (or plus) minimum, each rounded.
// Included after a vector header.

CK_INLINE float load_half(const uint8_t *from) {
  uint16_t half;
  memcpy(&half, from, 2);
  return ck_half_to_float(half);
}

void ISA(ck_decode_q4_0)(const uint8_t *b, ptrdiff_t count, float *y) {
  for (; count > 0; count--, b += 18, y += 32) {
    float d = load_half(b);
    for (int i = 0; i < 16; i++) {
      y[i] = d * (float)((b[2 + i] & 15) - 8);
      y[i + 16] = d * (float)((b[2 + i] >> 4) - 8);
    }
  }
}

void ISA(ck_decode_q4_1)(const uint8_t *b, ptrdiff_t count, float *y) {
  for (; count > 0; count--, b += 20, y += 32) {
    float d = load_half(b), m = load_half(b + 2);
    for (int i = 0; i < 16; i++) {
      y[i] = d * (float)(b[4 + i] & 15) + m;
      y[i + 16] = d * (float)(b[4 + i] >> 4) + m;
    }
  }
}

/// Codes of 5 bits.
CK_INLINE void five_bits(const uint8_t *high, const uint8_t *low, uint8_t *codes) {
  uint32_t bits;
  memcpy(&bits, high, 4);
  for (int i = 0; i < 16; i++) {
    codes[i] = (uint8_t)((low[i] & 15) | ((bits >> i) & 1) << 4);
    codes[i + 16] = (uint8_t)((low[i] >> 4) | ((bits >> (i + 16)) & 1) << 4);
  }
}

void ISA(ck_decode_q5_0)(const uint8_t *b, ptrdiff_t count, float *y) {
  for (; count > 0; count--, b += 22, y += 32) {
    float d = load_half(b);
    uint8_t codes[32];
    five_bits(b + 2, b + 6, codes);
    for (int i = 0; i < 32; i++) y[i] = d * (float)(codes[i] - 16);
  }
}

void ISA(ck_decode_q5_1)(const uint8_t *b, ptrdiff_t count, float *y) {
  for (; count > 0; count--, b += 24, y += 32) {
    float d = load_half(b), m = load_half(b + 2);
    uint8_t codes[32];
    five_bits(b + 4, b + 8, codes);
    for (int i = 0; i < 32; i++) y[i] = d * (float)codes[i] + m;
  }
}

void ISA(ck_decode_q8_0)(const uint8_t *b, ptrdiff_t count, float *y) {
  for (; count > 0; count--, b += 34, y += 32) {
    float d = load_half(b);
    for (int i = 0; i < 32; i++) y[i] = d * (float)(int8_t)b[2 + i];
  }
}

void ISA(ck_decode_q2_k)(const uint8_t *b, ptrdiff_t count, float *y) {
  for (; count > 0; count--, b += 84) {
    float d = load_half(b + 80), dmin = load_half(b + 82);
    for (int group = 0; group < 16; group++, y += 16) {
      const uint8_t *codes = b + 16 + group / 8 * 32 + group % 2 * 16;
      int shift = group % 8 / 2 * 2;
      float step = d * (float)(b[group] & 15), minimum = dmin * (float)(b[group] >> 4);
      for (int i = 0; i < 16; i++) y[i] = step * (float)((codes[i] >> shift) & 3) - minimum;
    }
  }
}

void ISA(ck_decode_q3_k)(const uint8_t *b, ptrdiff_t count, float *y) {
  for (; count > 0; count--, b += 110) {
    float d = load_half(b + 108);
    for (int group = 0; group < 16; group++, y += 16) {
      const uint8_t *codes = b + 32 + group / 8 * 32 + group % 2 * 16, *mask = b + group % 2 * 16;
      int shift = group % 8 / 2 * 2, plane = group / 2;
      int low = (b[96 + group % 8] >> (group < 8 ? 0 : 4)) & 15, high = (b[104 + group % 4] >> 2 * (group / 4)) & 3;
      float step = d * (float)((low | high << 4) - 32);
      for (int i = 0; i < 16; i++)
        y[i] = step * (float)(((codes[i] >> shift) & 3) - 4 + ((mask[i] >> plane) & 1) * 4);
    }
  }
}

/// Step and minimum of one of eight groups.
CK_INLINE void six_bits(const uint8_t *scales, int group, int *step, int *minimum) {
  if (group < 4) {
    *step = scales[group] & 63;
    *minimum = scales[group + 4] & 63;
  } else {
    *step = (scales[group + 4] & 15) | (scales[group - 4] >> 6) << 4;
    *minimum = scales[group + 4] >> 4 | (scales[group] >> 6) << 4;
  }
}

void ISA(ck_decode_q4_k)(const uint8_t *b, ptrdiff_t count, float *y) {
  for (; count > 0; count--, b += 144) {
    float d = load_half(b), dmin = load_half(b + 2);
    for (int group = 0; group < 8; group++, y += 32) {
      const uint8_t *codes = b + 16 + group / 2 * 32;
      int shift = group % 2 * 4, step_code, minimum_code;
      six_bits(b + 4, group, &step_code, &minimum_code);
      float step = d * (float)step_code, minimum = dmin * (float)minimum_code;
      for (int i = 0; i < 32; i++) y[i] = step * (float)((codes[i] >> shift) & 15) - minimum;
    }
  }
}

void ISA(ck_decode_q5_k)(const uint8_t *b, ptrdiff_t count, float *y) {
  for (; count > 0; count--, b += 176) {
    float d = load_half(b), dmin = load_half(b + 2);
    for (int group = 0; group < 8; group++, y += 32) {
      const uint8_t *codes = b + 48 + group / 2 * 32, *mask = b + 16;
      int shift = group % 2 * 4, step_code, minimum_code;
      six_bits(b + 4, group, &step_code, &minimum_code);
      float step = d * (float)step_code, minimum = dmin * (float)minimum_code;
      for (int i = 0; i < 32; i++)
        y[i] = step * (float)(((codes[i] >> shift) & 15) | ((mask[i] >> group) & 1) << 4) - minimum;
    }
  }
}

void ISA(ck_decode_q6_k)(const uint8_t *b, ptrdiff_t count, float *y) {
  for (; count > 0; count--, b += 210) {
    float d = load_half(b + 208);
    for (int group = 0; group < 16; group++, y += 16) {
      int half = group / 8, plane = group % 8 / 2, at = group % 2 * 16;
      const uint8_t *low = b + half * 64 + plane % 2 * 32 + at, *high = b + 128 + half * 32 + at;
      int shift = plane / 2 * 4, high_shift = plane * 2;
      float step = d * (float)(int8_t)b[192 + group];
      for (int i = 0; i < 16; i++)
        y[i] = step * (float)((((low[i] >> shift) & 15) | ((high[i] >> high_shift) & 3) << 4) - 32);
    }
  }
}
