// Encoders of the GGML blocks: the searches, and where their results lie in the bytes. Included after
// body_quantize_legacy.h. Codes of a block are int8, in the order of its weights.
#include "CKernels.h"

CK_INLINE void store_half(uint8_t *to, uint16_t half) { memcpy(to, &half, 2); }

/// Nibbles of 32 codes: the second half of the weights is in the high ones.
CK_INLINE void pack_nibbles(const int8_t *codes, uint8_t *to) {
  for (int i = 0; i < 16; i++) to[i] = (uint8_t)((codes[i] & 15) | (codes[i + 16] & 15) << 4);
}

/// Bit 4 of 32 codes.
CK_INLINE void pack_fifth_bits(const int8_t *codes, uint8_t *to) {
  uint32_t bits = 0;
  for (int i = 0; i < 32; i++) bits |= (uint32_t)((codes[i] >> 4) & 1) << i;
  memcpy(to, &bits, 4);
}

/// Two bits of 256 codes, in two halves of four planes of 32 weights.
CK_INLINE void pack_pairs(const uint8_t *codes, uint8_t *to) {
  for (int n = 0; n < 2; n++)
    for (int i = 0; i < 32; i++) {
      const uint8_t *c = codes + n * 128 + i;
      to[n * 32 + i] = (uint8_t)((c[0] & 3) | (c[32] & 3) << 2 | (c[64] & 3) << 4 | (c[96] & 3) << 6);
    }
}

/// Eight steps and eight minimums of 6 bits in 12 bytes.
CK_INLINE void pack_six_bits(const float *steps, const float *minimums, uint8_t *to) {
  for (int i = 0; i < 4; i++) {
    int low_step = (int)steps[i], high_step = (int)steps[i + 4];
    int low_minimum = (int)minimums[i], high_minimum = (int)minimums[i + 4];
    to[i] = (uint8_t)(low_step | (high_step >> 4) << 6);
    to[i + 4] = (uint8_t)(low_minimum | (high_minimum >> 4) << 6);
    to[i + 8] = (uint8_t)((high_step & 15) | (high_minimum & 15) << 4);
  }
}

/// Legacy blocks

CK_INLINE ptrdiff_t legacy_bytes(legacy_kind kind) {
  return kind.high == 127 ? 34 : 2 + (kind.has_minimum ? 2 : 0) + (kind.high - kind.low > 15 ? 4 : 0) + 16;
}

CK_INLINE void store_legacy(legacy_kind kind, legacy_grid grid, const int8_t *codes, uint8_t *to) {
  store_half(to, grid.d);
  to += 2;
  if (kind.high == 127) {
    memcpy(to, codes, 32);
    return;
  }
  if (kind.has_minimum) {
    store_half(to, grid.m);
    to += 2;
  }
  if (kind.high - kind.low > 15) {
    pack_fifth_bits(codes, to);
    to += 4;
  }
  pack_nibbles(codes, to);
}

CK_INLINE void encode_extremes(const ck_block_task *task, legacy_kind kind) {
  int8_t codes[32];
  for (ptrdiff_t start = 0; start < task->count; start += 16) {
    const float *x = task->x + start * 32;
    int count = task->count - start < 16 ? (int)(task->count - start) : 16;
    legacy_factors factors = extremes_factors(x, count, kind);
    for (int lane = 0; lane < count; lane++) {
      legacy_grid grid = {factors.half_d[lane], factors.half_m[lane]};
      extremes_codes(x + lane * 32, kind, factors.inverse[lane], factors.minimum[lane], codes);
      store_legacy(kind, grid, codes, task->blocks + (start + lane) * legacy_bytes(kind));
    }
  }
}

/// Searches 16 blocks at a time.
CK_INLINE void encode_searched(const ck_block_task *task, legacy_kind kind, int weighted) {
  groups g;
  shape of = {32, weighted};
  for (ptrdiff_t start = 0; start < task->count; start += 16) {
    const float *x = task->x + start * 32;
    int count = task->count - start < 16 ? (int)(task->count - start) : 16;
    float padded[512], unit[16];
    if (count < 16) {
      memset(padded, 0, sizeof padded);
      memcpy(padded, x, (size_t)count * 32 * sizeof(float));
      x = padded;
    }
    for (int lane = 0; lane < 16; lane++) unit[lane] = unit_of(largest_magnitude(x + lane * 32, 32));
    load_groups(&g, x, 32, unit);
    for (int lane = 0; weighted && lane < 16; lane++)
      load_weights(&g, 32, lane, task->importance + (start + (lane < count ? lane : 0)) % task->period * 32);
    uint16_t d[16] = {0}, m[16] = {0};
    if (kind.has_minimum) search_scales_offset(&g, of, kind, unit, d, m);
    else search_scales(&g, of, kind, unit, d, m);
    float inverse[16];
    for (int lane = 0; lane < 16; lane++) inverse[lane] = ck_half_to_float(d[lane]) * unit[lane];
    v_store(inverse, v_inverse(v_load(inverse)));
    for (int lane = 0; lane < count; lane++) {
      int8_t codes[32];
      legacy_grid grid = {d[lane], m[lane]};
      float minimum = ck_half_to_float(m[lane]) * unit[lane];
      if (kind.has_minimum) code_offsets(x + lane * 32, 32, unit[lane], inverse[lane], -minimum, kind.high, codes);
      else code_steps(x + lane * 32, 32, unit[lane], inverse[lane], kind.low, kind.high, codes);
      if (!kind.has_minimum && kind.high != 127)
        for (int i = 0; i < 32; i++) codes[i] = (int8_t)(codes[i] - (int)kind.low);
      store_legacy(kind, grid, codes, task->blocks + (start + lane) * legacy_bytes(kind));
    }
  }
}

CK_INLINE void encode_legacy(const ck_block_task *task, legacy_kind kind) {
  if (!task->search) encode_extremes(task, kind);
  else if (task->importance) encode_searched(task, kind, 1);
  else encode_searched(task, kind, 0);
}

void ISA(ck_encode_q4_0)(const ck_block_task *task) {
  encode_legacy(task, (legacy_kind){-8, 7, 0, 9, -2.0f, 0.35f});
}
void ISA(ck_encode_q4_1)(const ck_block_task *task) {
  encode_legacy(task, (legacy_kind){0, 15, 1, 9, -2.0f, 0.35f});
}
void ISA(ck_encode_q5_0)(const ck_block_task *task) {
  encode_legacy(task, (legacy_kind){-16, 15, 0, 12, -4.0f, 0.4f});
}
void ISA(ck_encode_q5_1)(const ck_block_task *task) {
  encode_legacy(task, (legacy_kind){0, 31, 1, 12, -4.0f, 0.4f});
}
void ISA(ck_encode_q8_0)(const ck_block_task *task) {
  encode_legacy(task, (legacy_kind){-127, 127, 0, 8, -6.0f, 0.8f});
}

/// K-quants

/// Where a superblock's codes and grid go.
typedef void (*store_super)(const int8_t *codes, const k_grid *grid, int super, uint8_t *to);

/// Loads a set of `count` superblocks from `start` on, and their units; what is missing is zero.
CK_INLINE void load_set(const ck_block_task *task, ptrdiff_t start, int count, k_kind kind, int weighted, groups *g,
                        float unit[2]) {
  int supers = 16 / kind.per_super;
  const float *x = task->x + start * 256;
  float padded[512], units[16];
  if (count < supers) {
    memset(padded, 0, sizeof padded);
    memcpy(padded, x, 256 * sizeof(float));
    x = padded;
  }
  for (int s = 0; s < supers; s++) unit[s] = unit_of(largest_magnitude(x + s * 256, 256));
  for (int lane = 0; lane < 16; lane++) units[lane] = unit[lane / kind.per_super];
  load_groups(g, x, kind.length, units);
  for (int lane = 0; weighted && lane < 16; lane++) {
    int super = lane / kind.per_super < count ? lane / kind.per_super : 0;
    ptrdiff_t block = (start + super) % task->period;
    load_weights(g, kind.length, lane, task->importance + block * 256 + lane % kind.per_super * kind.length);
  }
}

CK_INLINE void encode_k(const ck_block_task *task, k_kind kind, int has_minimum, int weighted, ptrdiff_t bytes,
                        store_super store) {
  groups g[SETS_TOGETHER];
  shape of = {kind.length, weighted};
  int supers = 16 / kind.per_super, most = SETS_TOGETHER * supers;
  for (ptrdiff_t start = 0; start < task->count; start += most) {
    int count = task->count - start < most ? (int)(task->count - start) : most, sets = (count + supers - 1) / supers;
    float unit[SETS_TOGETHER][2];
    k_grid grid[SETS_TOGETHER];
    for (int i = 0; i < sets; i++) {
      int left = count - i * supers;
      load_set(task, start + i * supers, left < supers ? left : supers, kind, weighted, &g[i], unit[i]);
    }
    if (has_minimum) search_offsets(g, sets, of, kind, unit, grid);
    else search_steps(g, sets, of, kind, unit, grid);
    for (int block = 0; block < count; block++) {
      int i = block / supers, s = block % supers;
      int8_t codes[256];
      float inverse[16];
      v_store(inverse, v_inverse(v_load(grid[i].step)));
      for (int group = 0; group < kind.per_super; group++) {
        int lane = s * kind.per_super + group, at = group * kind.length;
        const float *from = task->x + (start + block) * 256 + at;
        if (has_minimum)
          code_offsets(from, kind.length, unit[i][s], inverse[lane], grid[i].minimum[lane], kind.high, codes + at);
        else
          code_steps(from, kind.length, unit[i][s], inverse[lane], kind.low, kind.high, codes + at);
      }
      store(codes, &grid[i], s, task->blocks + (start + block) * bytes);
    }
  }
}

CK_INLINE void store_q2_k(const int8_t *codes, const k_grid *grid, int super, uint8_t *to) {
  (void)super;
  for (int i = 0; i < 16; i++) to[i] = (uint8_t)((int)grid->step_code[i] | (int)grid->minimum_code[i] << 4);
  pack_pairs((const uint8_t *)codes, to + 16);
  store_half(to + 80, grid->half_d[0]);
  store_half(to + 82, grid->half_dmin[0]);
}

CK_INLINE void store_q3_k(const int8_t *codes, const k_grid *grid, int super, uint8_t *to) {
  (void)super;
  uint8_t shifted[256];
  for (int i = 0; i < 256; i++) shifted[i] = (uint8_t)(codes[i] + 4);
  for (int i = 0; i < 32; i++) {
    uint8_t mask = 0;
    for (int plane = 0; plane < 8; plane++) mask |= (uint8_t)((shifted[plane * 32 + i] >> 2) << plane);
    to[i] = mask;
  }
  pack_pairs(shifted, to + 32);
  memset(to + 96, 0, 12);
  for (int i = 0; i < 16; i++) {
    int step = (int)grid->step_code[i] + 32;
    to[96 + (i & 7)] |= (uint8_t)((step & 15) << (i < 8 ? 0 : 4));
    to[104 + (i & 3)] |= (uint8_t)((step >> 4) << 2 * (i >> 2));
  }
  store_half(to + 108, grid->half_d[0]);
}

CK_INLINE void store_q4_k(const int8_t *codes, const k_grid *grid, int super, uint8_t *to) {
  store_half(to, grid->half_d[super]);
  store_half(to + 2, grid->half_dmin[super]);
  pack_six_bits(grid->step_code + super * 8, grid->minimum_code + super * 8, to + 4);
  for (int n = 0; n < 4; n++)
    for (int i = 0; i < 32; i++) to[16 + n * 32 + i] = (uint8_t)(codes[n * 64 + i] | codes[n * 64 + 32 + i] << 4);
}

CK_INLINE void store_q5_k(const int8_t *codes, const k_grid *grid, int super, uint8_t *to) {
  store_half(to, grid->half_d[super]);
  store_half(to + 2, grid->half_dmin[super]);
  pack_six_bits(grid->step_code + super * 8, grid->minimum_code + super * 8, to + 4);
  for (int i = 0; i < 32; i++) {
    uint8_t mask = 0;
    for (int plane = 0; plane < 8; plane++) mask |= (uint8_t)((codes[plane * 32 + i] >> 4) << plane);
    to[16 + i] = mask;
  }
  for (int n = 0; n < 4; n++)
    for (int i = 0; i < 32; i++)
      to[48 + n * 32 + i] = (uint8_t)((codes[n * 64 + i] & 15) | (codes[n * 64 + 32 + i] & 15) << 4);
}

CK_INLINE void store_q6_k(const int8_t *codes, const k_grid *grid, int super, uint8_t *to) {
  (void)super;
  for (int n = 0; n < 2; n++)
    for (int i = 0; i < 32; i++) {
      uint8_t c[4];
      for (int k = 0; k < 4; k++) c[k] = (uint8_t)(codes[n * 128 + k * 32 + i] + 32);
      to[n * 64 + i] = (uint8_t)((c[0] & 15) | (c[2] & 15) << 4);
      to[n * 64 + 32 + i] = (uint8_t)((c[1] & 15) | (c[3] & 15) << 4);
      to[128 + n * 32 + i] = (uint8_t)(c[0] >> 4 | (c[1] >> 4) << 2 | (c[2] >> 4) << 4 | (c[3] >> 4) << 6);
    }
  for (int i = 0; i < 16; i++) to[192 + i] = (uint8_t)(int8_t)grid->step_code[i];
  store_half(to + 208, grid->half_d[0]);
}

#define ENCODE_K(NAME, HAS_MINIMUM, BYTES, ...)                                          \
  void ISA(ck_encode_##NAME)(const ck_block_task *task) {                                \
    k_kind kind = {__VA_ARGS__};                                                         \
    if (task->importance) encode_k(task, kind, HAS_MINIMUM, 1, BYTES, store_##NAME);     \
    else encode_k(task, kind, HAS_MINIMUM, 0, BYTES, store_##NAME);                      \
  }

ENCODE_K(q2_k, 1, 84, 16, 16, 0, 3, 15, -0.9f, {6, 0.3f}, {6, 0.3f}, 2)
ENCODE_K(q3_k, 0, 110, 16, 16, -4, 3, 32, -1.2f, {6, 0.35f}, {4, 0.5f}, 1)
ENCODE_K(q4_k, 1, 144, 32, 8, 0, 15, 63, -2.2f, {7, 0.5f}, {7, 0.5f}, 2)
ENCODE_K(q5_k, 1, 176, 32, 8, 0, 31, 63, -4.0f, {8, 0.6f}, {8, 0.6f}, 2)
ENCODE_K(q6_k, 0, 210, 16, 16, -32, 31, 128, -8.0f, {9, 1.0f}, {9, 1.0f}, 1)

/// Rows on their way in

/// The largest magnitude; NaN where one of `count` values is not finite.
float ISA(ck_magnitude)(const float *x, ptrdiff_t count) {
  v16 zeros = v_zero(), largest = v_zero();
  ptrdiff_t i = 0;
  for (; i + 16 <= count; i += 16) {
    v16 value = v_load(x + i);
    zeros = v_fma(value, v_zero(), zeros);
    largest = v_max(v_abs(value), largest);
  }
  float zero = v_sum(zeros), result = v_maximum(largest);
  for (; i < count; i++) {
    zero += x[i] * 0.0f;
    float magnitude = __builtin_fabsf(x[i]);
    if (magnitude > result) result = magnitude;
  }
  return result + zero;
}

/// Largest |a - b|, largest |a|, sum of (a - b)^2, sum of a^2. What is equal, or NaN with the same bits, differs by 0.
void ISA(ck_difference)(const float *a, const float *b, ptrdiff_t count, float result[4]) {
  v16 largest = v_zero(), magnitude = v_zero(), squares = v_zero(), energy = v_zero(), bad = v_zero();
  ptrdiff_t whole = count / 16 * 16;
  for (ptrdiff_t i = 0; i < whole; i += 16) {
    v16 x = v_load(a + i), d = v_sub(x, v_load(b + i));
    largest = v_max(v_abs(d), largest);
    magnitude = v_max(v_abs(x), magnitude);
    squares = v_fma(d, d, squares);
    energy = v_fma(x, x, energy);
    bad = v_fma(d, v_zero(), bad);
  }
  result[0] = v_maximum(largest);
  result[1] = v_maximum(magnitude);
  result[2] = v_sum(squares);
  result[3] = v_sum(energy);
  ptrdiff_t rest = whole;
  if (v_sum(bad) != 0) {
    // Something is infinite or NaN: one after another.
    rest = 0;
    result[0] = result[1] = result[2] = result[3] = 0;
  }
  for (ptrdiff_t i = rest; i < count; i++) {
    float d = a[i] == b[i] || memcmp(a + i, b + i, 4) == 0 ? 0 : __builtin_fabsf(a[i] - b[i]), m = __builtin_fabsf(a[i]);
    if (d > result[0] || d != d) result[0] = d;
    if (m > result[1]) result[1] = m;
    result[2] += d * d;
    result[3] += a[i] * a[i];
  }
}

void ISA(ck_widen_bf16)(const uint16_t *x, float *y, ptrdiff_t count) {
  ptrdiff_t i = 0;
  // Callers widen a few thousand numbers at a time and then work on them: the next ones come from memory meanwhile.
  for (; i + 32 <= count; i += 32) {
    __builtin_prefetch(x + i + 4096, 0, 3);
    v_store(y + i, v_load_bf16(x + i));
    v_store(y + i + 16, v_load_bf16(x + i + 16));
  }
  for (; i + 16 <= count; i += 16) v_store(y + i, v_load_bf16(x + i));
  for (; i < count; i++) {
    uint32_t bits = (uint32_t)x[i] << 16;
    memcpy(y + i, &bits, 4);
  }
}

void ISA(ck_widen_f16)(const uint16_t *x, float *y, ptrdiff_t count) {
  ptrdiff_t i = 0;
  for (; i + 16 <= count; i += 16) v_store(y + i, v_load_f16(x + i));
  for (; i < count; i++) y[i] = ck_half_to_float(x[i]);
}
