// Packing and reading panels: plain C for every processor, since it is bound by memory.
#pragma STDC FP_CONTRACT OFF
#include <string.h>

#include "compact.h"
#include "half.h"

float ck_float_from_half(uint16_t half) { return ck_half_to_float(half); }
uint16_t ck_half_from_float(float value) { return ck_float_to_half(value); }

/// Eight columns of eight rows of elements of 16 bits.
typedef uint16_t eight __attribute__((vector_size(16)));

/// Writes the elements of each column side by side. Three times every row of the upper half is mixed with its counterpart below.
static void pack_eight(const uint8_t *source, ptrdiff_t source_stride, uint8_t *panel) {
  eight rows[8], mixed[8];
  for (int i = 0; i < 8; i++) memcpy(&rows[i], source + i * source_stride, sizeof rows[i]);
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 4; i++) {
      mixed[2 * i] = __builtin_shufflevector(rows[i], rows[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
      mixed[2 * i + 1] = __builtin_shufflevector(rows[i], rows[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
    }
    memcpy(rows, mixed, sizeof rows);
  }
  for (int i = 0; i < 8; i++) memcpy(panel + i * 2 * CK_PANEL, &rows[i], sizeof rows[i]);
}

void ck_pack_dense(const uint8_t *source, ptrdiff_t source_stride, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t width,
                   uint8_t *panel) {
  // Sixteen columns at a time, so that every cache line written is filled while it is near.
  for (ptrdiff_t start = 0; start < columns; start += 16) {
    ptrdiff_t end = start + 16 < columns ? start + 16 : columns;
    ptrdiff_t row = 0;
    if (width == 2 && end == start + 16)
      for (; row + 8 <= rows; row += 8)
        for (ptrdiff_t k = start; k < end; k += 8)
          pack_eight(source + row * source_stride + k * 2, source_stride, panel + (k * CK_PANEL + row) * 2);
    for (; row < rows; row++) {
      const uint8_t *from = source + row * source_stride;
      if (width == 1)
        for (ptrdiff_t k = start; k < end; k++) panel[k * CK_PANEL + row] = from[k];
      else if (width == 2)
        for (ptrdiff_t k = start; k < end; k++) memcpy(panel + (k * CK_PANEL + row) * 2, from + k * 2, 2);
      else
        for (ptrdiff_t k = start; k < end; k++) memcpy(panel + (k * CK_PANEL + row) * 4, from + k * 4, 4);
    }
  }
}

void ck_pack_codes(const uint8_t *codes, ptrdiff_t columns, int32_t shift, int32_t encoding, ptrdiff_t row,
                   uint8_t *to) {
  if (encoding == CK_Q8) {
    for (ptrdiff_t k = 0; k < columns; k++) to[(k >> 2) * 64 + row * 4 + (k & 3)] = (uint8_t)(codes[k] + shift);
    return;
  }
  for (ptrdiff_t k = 0; k < columns; k++) {
    uint8_t *pair = to + (k >> 3) * 64 + row * 4 + (k & 3);
    uint8_t code = (uint8_t)(codes[k] + shift) & 15;
    *pair = (k & 4) ? (uint8_t)((*pair & 15) | (code << 4)) : (uint8_t)((*pair & 0xF0) | code);
  }
}

/// Nibbles n3 n2 n1 n0 of 16 bits, one to a byte.
static uint32_t spread(uint32_t nibbles) {
  nibbles = (nibbles | nibbles << 8) & 0x00FF00FFu;
  return (nibbles | nibbles << 4) & 0x0F0F0F0Fu;
}

void ck_pack_nibbles(const uint8_t *bytes, ptrdiff_t columns, ptrdiff_t row, uint8_t *to) {
  ptrdiff_t k = 0;
  for (; k + 8 <= columns; k += 8, bytes += 4) {
    uint32_t low = spread((uint32_t)bytes[0] | (uint32_t)bytes[1] << 8);
    uint32_t high = spread((uint32_t)bytes[2] | (uint32_t)bytes[3] << 8);
    uint32_t pairs = low | high << 4;
    uint8_t *step = to + k * 8 + row * 4;
    for (int j = 0; j < 4; j++) step[j] = (uint8_t)(pairs >> (8 * j));
  }
  uint8_t codes[8];
  for (ptrdiff_t j = 0; k + j < columns; j++) codes[j] = (bytes[j >> 1] >> (4 * (j & 1))) & 15;
  ck_pack_codes(codes, columns - k, 0, CK_Q4, row, to + k * 8);
}

static float dense_element(const ck_panels *w, const uint8_t *panel, ptrdiff_t index) {
  float value;
  uint16_t half;
  uint32_t bits;
  switch (w->encoding) {
    case CK_F32:
      memcpy(&value, panel + index * 4, 4);
      return value;
    case CK_BF16:
      memcpy(&half, panel + index * 2, 2);
      bits = (uint32_t)half << 16;
      memcpy(&value, &bits, 4);
      return value;
    default:
      memcpy(&half, panel + index * 2, 2);
      return ck_half_to_float(half);
  }
}

/// scale * code of an E4M3 panel; the codes' bits, moved, are halves 2^8 times as small.
static float e4m3_element(const ck_panels *w, const uint8_t *panel, ptrdiff_t k, ptrdiff_t lane) {
  uint8_t code = panel[w->codes_offset + k * CK_PANEL + lane];
  float scale;
  memcpy(&scale, panel + (k / w->block_length * CK_PANEL + lane) * 4, 4);
  return ck_half_to_float((uint16_t)((code & 0x80) << 8 | (code & 0x7F) << 7)) * (scale * 256.0f);
}

void ck_decode_row(const ck_panels *w, ptrdiff_t row, float *y) {
  const uint8_t *panel = w->bytes + row / CK_PANEL * w->panel_bytes;
  ptrdiff_t lane = row % CK_PANEL;
  if (w->encoding == CK_COMPACT_BF16) {
    ck_decode_compact_row(w, panel, lane, y);
    return;
  }
  if (w->encoding == CK_E4M3) {
    for (ptrdiff_t k = 0; k < w->columns; k++) y[k] = e4m3_element(w, panel, k, lane);
    return;
  }
  if (w->encoding != CK_Q8 && w->encoding != CK_Q4) {
    for (ptrdiff_t k = 0; k < w->columns; k++) y[k] = dense_element(w, panel, k * CK_PANEL + lane);
    return;
  }
  const uint8_t *codes = panel + w->codes_offset;
  for (ptrdiff_t k = 0; k < w->columns; k++) {
    ptrdiff_t block = k / w->block_length;
    uint16_t half;
    memcpy(&half, panel + (block * CK_PANEL + lane) * 2, 2);
    int zero = w->encoding == CK_Q8 ? 128 : 8;
    if (w->has_zeros) zero = panel[w->zeros_offset + block * CK_PANEL + lane];
    int code;
    if (w->encoding == CK_Q8) {
      code = codes[(k >> 2) * 64 + lane * 4 + (k & 3)];
    } else {
      uint8_t pair = codes[(k >> 3) * 64 + lane * 4 + (k & 3)];
      code = (k & 4) ? pair >> 4 : pair & 15;
    }
    y[k] = ck_half_to_float(half) * (float)(code - zero);
  }
}
