#ifndef ADZE_CKERNELS_BLOCKS_H
#define ADZE_CKERNELS_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

// Encoders and decoders of the GGML block formats. Every instruction set gives the same bytes and the same floats.

/// Formats that have kernels; the numbers index the table below.
enum {
  CK_BLOCK_Q4_0 = 0,
  CK_BLOCK_Q4_1 = 1,
  CK_BLOCK_Q5_0 = 2,
  CK_BLOCK_Q5_1 = 3,
  CK_BLOCK_Q8_0 = 4,
  CK_BLOCK_Q2_K = 5,
  CK_BLOCK_Q3_K = 6,
  CK_BLOCK_Q4_K = 7,
  CK_BLOCK_Q5_K = 8,
  CK_BLOCK_Q6_K = 9,
  CK_BLOCK_COUNT = 10,
};

/// Consecutive blocks to encode, beginning at the start of a row.
typedef struct ck_block_task {
  /// `count` blocks of finite weights.
  const float *x;
  /// Weights of the squared errors of one row, not negative; null for ones.
  const float *importance;
  ptrdiff_t count;
  /// Blocks of a row.
  ptrdiff_t period;
  /// Whether scales are searched for; 0 takes them from the extremes, where the format has such a rule.
  int32_t search;
  uint8_t *blocks;
} ck_block_task;

typedef void (*ck_encode_blocks_fn)(const ck_block_task *task);
/// Writes the values of `count` blocks.
typedef void (*ck_decode_blocks_fn)(const uint8_t *blocks, ptrdiff_t count, float *y);
typedef float (*ck_magnitude_fn)(const float *x, ptrdiff_t count);
typedef void (*ck_difference_fn)(const float *a, const float *b, ptrdiff_t count, float result[4]);
typedef void (*ck_widen_fn)(const uint16_t *x, float *y, ptrdiff_t count);

/// The kernels of one instruction set.
typedef struct ck_block_table {
  ck_encode_blocks_fn encode[CK_BLOCK_COUNT];
  ck_decode_blocks_fn decode[CK_BLOCK_COUNT];
  /// The largest magnitude; NaN where a value is not finite.
  ck_magnitude_fn magnitude;
  /// Largest |a - b|, largest |a|, sum of (a - b)^2, sum of a^2; equal infinities, and NaN with the same bits, differ by 0.
  ck_difference_fn difference;
  ck_widen_fn widen_bf16;
  ck_widen_fn widen_f16;
} ck_block_table;

/// The kernels of an instruction set (CK_PORTABLE, ...); null when this processor, or this build, does not have it.
const ck_block_table *ck_block_table_for(int32_t instruction_set);

#endif
