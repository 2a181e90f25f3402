// Packing, checking and reading compact bf16 panels: plain C for every processor, since it is bound by memory.
#include "compact.h"

/// Biased exponents of one element or of a vector of them.
#define EXPONENTS(ELEMENTS) ((ELEMENTS) >> 7 & 0xFF)

static uint16_t distance_of(uint16_t bits, uint16_t base) { return (uint16_t)(base - EXPONENTS(bits)); }

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

/// One column of a plain panel.
typedef uint16_t column __attribute__((vector_size(2 * CK_PANEL)));
/// The same twice.
typedef uint16_t columns_two __attribute__((vector_size(4 * CK_PANEL)));

/// The largest biased exponent of each row of a plain panel.
static void largest_exponents(const uint8_t *source, ptrdiff_t columns, column *bases) {
  typedef int16_t magnitudes __attribute__((vector_size(2 * CK_PANEL)));
  magnitudes most = {0};
  for (ptrdiff_t k = 0; k < columns; k++) {
    magnitudes next;
    memcpy(&next, source + k * sizeof next, sizeof next);
    most = __builtin_elementwise_max(most, next & 0x7FFF);
  }
  *bases = (column)most >> 7;
}

/// Puts the elements of a step that are too far from the exponents of their rows aside; what takes their place is not read. A mapped
/// checkpoint may change after its exceptions were counted: no more are written than there is room for.
static ck_exception *set_aside(column *step, ptrdiff_t first, const column *bases, ck_exception *to,
                               const ck_exception *limit) {
  for (int j = 0; j < CK_COMPACT_COLUMNS; j++)
    for (int row = 0; row < CK_PANEL; row++) {
      if (distance_of(step[j][row], (*bases)[row]) <= 15) continue;
      if (to < limit) *to++ = (ck_exception){(uint32_t)(first + j), (uint16_t)row, step[j][row]};
      step[j][row] = (uint16_t)((*bases)[row] << 7);
    }
  return to;
}

void ck_pack_compact(const uint8_t *source, ptrdiff_t columns, ptrdiff_t codes_offset, uint8_t *panel) {
  ck_exception *const list = (ck_exception *)(void *)(panel + CK_COMPACT_HEADER);
  ck_exception *end = list;
  const ck_exception *const limit = (const ck_exception *)(const void *)(panel + codes_offset);
  column bases;
  largest_exponents(source, columns, &bases);
  for (int row = 0; row < CK_PANEL; row++) panel[row] = (uint8_t)bases[row];
  uint8_t *to = panel + codes_offset;
  for (ptrdiff_t first = 0; first < columns; first += CK_COMPACT_COLUMNS, to += CK_COMPACT_STEP) {
    column step[CK_COMPACT_COLUMNS], far = {0}, even = {0}, odd = {0};
    for (int j = 0; j < CK_COMPACT_COLUMNS; j++) {
      step[j] = bases << 7;
      if (first + j < columns) memcpy(&step[j], source + (first + j) * sizeof(column), sizeof(column));
      far |= bases - EXPONENTS(step[j]);
    }
    uint16_t any = 0;
    for (int row = 0; row < CK_PANEL; row++) any |= far[row];
    if (any > 15) end = set_aside(step, first, &bases, end, limit);
    for (int pair = 0; pair < CK_COMPACT_COLUMNS / 2; pair++) {
      const column a = step[2 * pair], b = step[2 * pair + 1];
      even |= (bases - EXPONENTS(a)) << 4 * pair;
      odd |= (bases - EXPONENTS(b)) << 4 * pair;
      const column codes = (a >> 8 & 0x80) | (a & 0x7F) | (b & 0x8000) | (b & 0x7F) << 8;
      memcpy(to + CK_COMPACT_DISTANCES + pair * sizeof codes, &codes, sizeof codes);
    }
    const columns_two both = __builtin_shufflevector(even, odd, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23,
                                                     8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    memcpy(to, &both, sizeof both);
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
