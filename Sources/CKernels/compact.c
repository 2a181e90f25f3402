// Packing, checking and reading compact bf16 panels: plain C for every processor, since it is bound by memory.
#include "compact.h"

static uint16_t distance_of(uint16_t bits, uint16_t base) { return (uint16_t)(base - (bits >> 7 & 0xFF)); }

ptrdiff_t ck_count_exceptions(const uint8_t *row, ptrdiff_t columns) {
  int16_t most = 0;
  for (ptrdiff_t k = 0; k < columns; k++) {
    int16_t magnitude;
    memcpy(&magnitude, row + 2 * k, 2);
    magnitude &= 0x7FFF;
    if (magnitude > most) most = magnitude;
  }
  const uint16_t base = (uint16_t)(most >> 7);
  ptrdiff_t count = 0;
  // Counted in 16 bits for a while, as wide as what is compared.
  for (ptrdiff_t start = 0; start < columns; start += 4096) {
    ptrdiff_t end = start + 4096 < columns ? start + 4096 : columns;
    int16_t far = 0;
    for (ptrdiff_t k = start; k < end; k++) {
      uint16_t bits;
      memcpy(&bits, row + 2 * k, 2);
      far = (int16_t)(far + (distance_of(bits, base) > 15));
    }
    count += far;
  }
  return count;
}

/// The largest biased exponent of each row of a plain panel.
static void largest_exponents(const uint8_t *source, ptrdiff_t columns, uint16_t *bases) {
  int16_t most[CK_PANEL] = {0};
  for (ptrdiff_t k = 0; k < columns; k++) {
    int16_t column[CK_PANEL];
    memcpy(column, source + k * sizeof column, sizeof column);
    for (int row = 0; row < CK_PANEL; row++) {
      const int16_t magnitude = column[row] & 0x7FFF;
      most[row] = magnitude > most[row] ? magnitude : most[row];
    }
  }
  for (int row = 0; row < CK_PANEL; row++) bases[row] = (uint16_t)(most[row] >> 7);
}

/// Puts the elements of a step that are too far from the exponents of their rows aside; what takes their place is not read.
static ck_exception *set_aside(uint16_t *step, ptrdiff_t first, const uint16_t *bases, ck_exception *to) {
  for (ptrdiff_t i = 0; i < CK_COMPACT_COLUMNS * CK_PANEL; i++) {
    const ptrdiff_t row = i % CK_PANEL;
    if (distance_of(step[i], bases[row]) <= 15) continue;
    *to++ = (ck_exception){(uint32_t)(first + i / CK_PANEL), (uint16_t)row, step[i]};
    step[i] = (uint16_t)(bases[row] << 7);
  }
  return to;
}

void ck_pack_compact(const uint8_t *source, ptrdiff_t columns, ptrdiff_t codes_offset, uint8_t *panel) {
  ck_exception *const list = (ck_exception *)(void *)(panel + CK_COMPACT_HEADER);
  ck_exception *end = list;
  uint16_t bases[CK_PANEL];
  largest_exponents(source, columns, bases);
  for (int row = 0; row < CK_PANEL; row++) panel[row] = (uint8_t)bases[row];
  for (ptrdiff_t first = 0; first < columns; first += CK_COMPACT_COLUMNS) {
    uint8_t *to = panel + codes_offset + first / CK_COMPACT_COLUMNS * CK_COMPACT_STEP;
    const ptrdiff_t present = columns - first < CK_COMPACT_COLUMNS ? columns - first : CK_COMPACT_COLUMNS;
    uint16_t step[CK_COMPACT_COLUMNS * CK_PANEL];
    memcpy(step, source + first * CK_PANEL * 2, (size_t)present * CK_PANEL * 2);
    for (ptrdiff_t i = present * CK_PANEL; i < CK_COMPACT_COLUMNS * CK_PANEL; i++)
      step[i] = (uint16_t)(bases[i % CK_PANEL] << 7);
    uint16_t distances = 0;
    for (int j = 0; j < CK_COMPACT_COLUMNS; j++)
      for (int row = 0; row < CK_PANEL; row++) distances |= distance_of(step[j * CK_PANEL + row], bases[row]);
    if (distances > 15) end = set_aside(step, first, bases, end);
    uint16_t even[CK_PANEL] = {0}, odd[CK_PANEL] = {0};
    for (int pair = 0; pair < CK_COMPACT_COLUMNS / 2; pair++) {
      const uint16_t *a = step + pair * 2 * CK_PANEL, *b = a + CK_PANEL;
      uint16_t codes[CK_PANEL];
      for (int row = 0; row < CK_PANEL; row++) {
        even[row] |= (uint16_t)(distance_of(a[row], bases[row]) << 4 * pair);
        odd[row] |= (uint16_t)(distance_of(b[row], bases[row]) << 4 * pair);
        codes[row] = (uint16_t)((a[row] >> 8 & 0x80) | (a[row] & 0x7F) | (b[row] & 0x8000) | (b[row] & 0x7F) << 8);
      }
      memcpy(to + CK_COMPACT_DISTANCES + pair * sizeof codes, codes, sizeof codes);
    }
    uint16_t both[2 * CK_PANEL];
    for (int row = 0; row < CK_PANEL; row++) {
      both[2 * row] = even[row];
      both[2 * row + 1] = odd[row];
    }
    memcpy(to, both, sizeof both);
  }
  const uint32_t count = (uint32_t)(end - list);
  memcpy(panel + CK_PANEL, &count, sizeof count);
}

ptrdiff_t ck_damaged_compact(const ck_panels *w) {
  ptrdiff_t panels = (w->rows + CK_PANEL - 1) / CK_PANEL;
  for (ptrdiff_t p = 0; p < panels; p++) {
    const uint8_t *panel = w->bytes + p * w->panel_bytes;
    exceptions list = exceptions_of(w, panel);
    uint32_t count;
    memcpy(&count, panel + CK_PANEL, sizeof count);
    if (count != list.end - list.next) return p;
    for (const ck_exception *at = list.next; at < list.end; at++) {
      if (at->column >= w->columns || at->row >= CK_PANEL) return p;
      if (at == list.next || at[-1].column < at->column) continue;
      if (at[-1].column > at->column || at[-1].row >= at->row) return p;
    }
  }
  return -1;
}

void ck_decode_compact_row(const ck_panels *w, const uint8_t *panel, ptrdiff_t row, float *y) {
  for (ptrdiff_t k = 0; k < w->columns; k++) {
    const uint8_t *step = panel + w->codes_offset + k / CK_COMPACT_COLUMNS * CK_COMPACT_STEP;
    const ptrdiff_t pair = k % CK_COMPACT_COLUMNS / 2, odd = k & 1;
    uint16_t distances;
    memcpy(&distances, step + 4 * row + 2 * odd, 2);
    const uint8_t code = step[CK_COMPACT_DISTANCES + 32 * pair + 2 * row + odd];
    const uint32_t exponent = (panel[row] - (distances >> 4 * pair & 15u)) & 0xFF;
    const uint32_t bits = (uint32_t)(code & 0x80) << 24 | exponent << 23 | (uint32_t)(code & 0x7F) << 16;
    memcpy(y + k, &bits, 4);
  }
  exceptions list = exceptions_of(w, panel);
  for (; list.next < list.end; list.next++) {
    if (list.next->row != row || list.next->column >= w->columns) continue;
    const uint32_t bits = (uint32_t)list.next->bits << 16;
    memcpy(y + list.next->column, &bits, 4);
  }
}
