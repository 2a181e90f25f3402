// Compact bf16 panels: 12 bits a weight, and a few exceptions. See PanelMatrix.swift for the layout.
#ifndef CK_COMPACT_H
#define CK_COMPACT_H

#include <string.h>

#include "CKernels.h"

/// Columns of a step and its bytes: the exponents' distances, then signs with mantissas.
enum { CK_COMPACT_COLUMNS = 8, CK_COMPACT_DISTANCES = 64, CK_COMPACT_STEP = 192 };

/// The exceptions of a panel. No more than there is room for, whatever the panel says: a mapped file may change after it was
/// checked.
typedef struct exceptions {
  const ck_exception *next, *end;
} exceptions;

static inline exceptions exceptions_of(const ck_panels *w, const uint8_t *panel) {
  exceptions list;
  uint32_t count;
  memcpy(&count, panel + CK_PANEL, sizeof count);
  const size_t room = (size_t)(w->codes_offset - CK_COMPACT_HEADER) / sizeof(ck_exception);
  list.next = (const ck_exception *)(const void *)(panel + CK_COMPACT_HEADER);
  list.end = list.next + (count < room ? count : room);
  return list;
}

/// One row of a panel as floats.
void ck_decode_compact_row(const ck_panels *w, const uint8_t *panel, ptrdiff_t row, float *y);

#endif
