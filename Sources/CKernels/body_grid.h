// Scales and zero points of a block of codes, one lane a row. Included after a vector header.
#include "CKernels.h"

/// Bytes of a panel between what is multiplied and what is fetched for one token, which uses nothing twice: what the processor
/// foresees by itself ends with each panel. More would not stay in the second cache until it is used.
enum { CK_AHEAD = 16384 };

typedef struct grid {
  v16 scale, zero;
} grid;

CK_INLINE grid block_grid(const ck_panels *w, const uint8_t *panel, ptrdiff_t block, float implicit_zero) {
  grid g;
  g.scale = v_load_f16((const uint16_t *)(const void *)panel + block * 16);
  g.zero = w->has_zeros ? v_load_u8(panel + w->zeros_offset + block * 16) : v_set(implicit_zero);
  return g;
}

/// Bytes from the first of four panels to what is read after them, when `count` panels are left.
CK_INLINE ptrdiff_t next_panels(const ck_panels *w, ptrdiff_t first, ptrdiff_t count) {
  if (!w->after || count >= 8) return 4 * w->panel_bytes;
  return (ptrdiff_t)((uintptr_t)w->after - (uintptr_t)(w->bytes + first * w->panel_bytes));
}
