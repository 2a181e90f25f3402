#ifndef ADZE_CODEBOOK_KERNELS_H
#define ADZE_CODEBOOK_KERNELS_H

#include <stddef.h>
#include <stdint.h>

// Searches in the value tables of codecs. As in CKernels.h every instruction set gives the same bits.

// A table of levels: 16 ascending values, the last repeated where there are fewer, and 15 bounds; a value belongs to level
// i when it is above bounds[i-1] and not above bounds[i].

/// For each factor f, with v the level of x * f: cross = sum of w x v, square = sum of w v v. `count` is a multiple of 16.
typedef void (*ck_levels_sums_fn)(const float *levels, const float *bounds, const float *x, const float *w,
                                  ptrdiff_t count, const float *factors, ptrdiff_t factor_count, float *cross,
                                  float *square);
/// The level of x * factor, 0...15. `count` is a multiple of 16.
typedef void (*ck_levels_codes_fn)(const float *bounds, const float *x, ptrdiff_t count, float factor, uint8_t *codes);

/// For each entry e of a codebook, grid[d * entries + e] being coordinate d: cross[e] = sum of wx[d] g,
/// square[e] = sum of w[d] g g. `entries` is a multiple of 16.
typedef void (*ck_codebook_sums_fn)(const float *grid, ptrdiff_t entries, ptrdiff_t dimensions, const float *wx,
                                    const float *w, float *cross, float *square);
/// The first entry of the greatest gain 2 s cross - s s square.
typedef int32_t (*ck_codebook_best_fn)(const float *cross, const float *square, ptrdiff_t entries, float s, float *gain);

/// The searches of one instruction set.
typedef struct ck_codebook_table {
  ck_levels_sums_fn levels_sums;
  ck_levels_codes_fn levels_codes;
  ck_codebook_sums_fn codebook_sums;
  ck_codebook_best_fn codebook_best;
} ck_codebook_table;

/// The searches of an instruction set (CK_PORTABLE, ...); null when this processor, or this build, does not have it.
const ck_codebook_table *ck_codebook_table_for(int32_t instruction_set);

#endif
