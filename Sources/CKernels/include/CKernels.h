#ifndef ADZE_CKERNELS_H
#define ADZE_CKERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "CKernelsBlocks.h"

// Kernels of Adze. Each instruction set offers the same table of functions, and every function gives the same bits in
// every table: sums run in the same order, and a fused multiply-add stays one wherever it stands. See PanelMatrix.swift
// for the layout of panels.

/// How the elements of a panel are stored; the numbers index the tables below.
enum {
  CK_F32 = 0,
  CK_BF16 = 1,
  CK_F16 = 2,
  CK_Q8 = 3,
  CK_Q4 = 4,
  CK_E4M3 = 5,
  CK_COMPACT_BF16 = 6,
  CK_ENCODING_COUNT = 7,
};

/// Rows of a panel.
enum { CK_PANEL = 16 };

/// Floats of scratch that a thread must offer `ck_linear_f32_fn`: so many, and so many more for every token.
enum { CK_LINEAR_SCRATCH = 8 * 1024, CK_LINEAR_TOKEN_SCRATCH = 16 + 256 + 16 };

/// Keys of an attention tile; tiles begin at multiples of it.
enum { CK_KEY_TILE = 64 };

/// A matrix in panels.
typedef struct ck_panels {
  const uint8_t *bytes;
  ptrdiff_t rows;
  ptrdiff_t columns;
  ptrdiff_t panel_bytes;
  ptrdiff_t zeros_offset;
  ptrdiff_t codes_offset;
  int32_t encoding;
  int32_t block_length;
  int32_t has_zeros;
  /// What is read when the last panels of a call have been multiplied with one token, for fetching it meanwhile: anything, or null
  /// for the panels behind them.
  const uint8_t *after;
} ck_panels;

/// Bytes of a compact bf16 panel before its exceptions: for each row the exponent that distances are taken from, and the number of
/// exceptions as u32.
enum { CK_COMPACT_HEADER = 64 };

/// An element of a compact bf16 panel that is stored as it is.
typedef struct ck_exception {
  uint32_t column;
  uint16_t row;
  uint16_t bits;
} ck_exception;

/// What was taken from a code so that it and its neighbour are at most 128 together.
typedef struct ck_excess {
  /// Row.
  int32_t token;
  /// Bytes from the codes of a block of a q8 panel to those of its four columns.
  int32_t offset;
  /// The four codes, of which one is not zero, as they lie in memory.
  int32_t word;
} ck_excess;

/// What is known of the fitted codes of a row in a block.
typedef struct ck_fitted_row {
  int32_t sum;
  /// For every 32 columns of at most 128 a quarter, rounded up, of the largest sum of squares of eight codes that are added up in 16
  /// bits, and of sixteen.
  uint16_t energies[8];
} ck_fitted_row;

/// Activations as int8: codes row-major, a scale and a sum of codes per block of columns.
typedef struct ck_quantized {
  const int8_t *codes;
  const float *scales;
  const int32_t *sums;
  ptrdiff_t code_stride;
  ptrdiff_t block_stride;
  /// The codes once more, [block][row][column], less their excess; null when nobody asked for them. See ck_fit_fn.
  const int8_t *fitted;
  /// What the fitted ones lack, with room for `excess_room` in each block: those of row t are number starts[t] to
  /// starts[t + 1] of a block. The first start of a block is -1 when there are more.
  const ck_excess *excess;
  const int32_t *starts;
  ptrdiff_t excess_room;
  /// [block][row], and [block][row][column / 16]: -128 times what the fitted codes add up to, in two halves of 16 bits modulo
  /// 2^16, of the first and second two of every four columns.
  const ck_fitted_row *fitted_sums;
  const int32_t *centers;
  /// Rows of `fitted`, and which of them is the first row of `codes`; `starts` has one more than rows for each block.
  ptrdiff_t fitted_rows;
  ptrdiff_t first_row;
} ck_quantized;

/// y[t][16 * first_panel ..] = panels * x[t] + bias for `panel_count` panels and `tokens` tokens.
typedef void (*ck_linear_f32_fn)(const ck_panels *w, const float *x, ptrdiff_t x_stride, ptrdiff_t tokens,
                                 const float *bias, float *y, ptrdiff_t y_stride, ptrdiff_t first_panel,
                                 ptrdiff_t panel_count, float *scratch);
/// The same from int8 activations.
typedef void (*ck_linear_i8_fn)(const ck_panels *w, const ck_quantized *x, ptrdiff_t tokens, const float *bias, float *y,
                                ptrdiff_t y_stride, ptrdiff_t first_panel, ptrdiff_t panel_count);
/// Quantizes one row of `columns` floats to blocks of `block_length`, padding the last one with zeros; every `scale_columns`
/// columns share a scale, which is `fixed` when that is more than 0. No code exceeds `most` (127 or 7) in magnitude. Numbers at or beyond `threshold`, if that is more than 0,
/// become zero.
typedef void (*ck_quantize_fn)(const float *x, ptrdiff_t columns, ptrdiff_t block_length, ptrdiff_t scale_columns,
                               float most, float fixed, float threshold, int8_t *codes, float *scales, int32_t *sums);
/// Takes from every pair of neighbours in a block of `length` columns what makes them more than 128, or less than -128, together:
/// products of a pair with unsigned bytes then fit 16 bits. Null in tables whose products need no such thing.
typedef void (*ck_fit_fn)(const int8_t *codes, ptrdiff_t code_stride, ptrdiff_t rows, ptrdiff_t length, int8_t *fitted,
                          ck_excess *excess, ptrdiff_t room, int32_t *starts, ck_fitted_row *sums, int32_t *centers);
/// Rounds one row to E4M3 with a scale for every `length` numbers, or `fixed` when that is more than 0, and back.
typedef void (*ck_round_e4m3_fn)(const float *x, ptrdiff_t columns, ptrdiff_t length, float fixed, float *y);
/// For one token adds to y[16 * first_panel ..] the products with the numbers at or beyond `threshold`.
typedef void (*ck_outliers_fn)(const ck_panels *w, const float *x, float threshold, float *y, ptrdiff_t first_panel,
                               ptrdiff_t panel_count);
typedef void (*ck_unary_fn)(const float *x, float *y, ptrdiff_t count);
typedef void (*ck_unary_scalar_fn)(const float *x, float scalar, float *y, ptrdiff_t count);
/// Multiplies blocks of `block` elements, a power of two, with Hadamard matrices over the square root of their size; y may be x.
typedef void (*ck_hadamard_fn)(const float *x, ptrdiff_t block, float *y, ptrdiff_t count);
typedef void (*ck_binary_fn)(const float *a, const float *b, float *y, ptrdiff_t count);
typedef void (*ck_rms_norm_fn)(const float *x, const float *weight, float epsilon, float *y, ptrdiff_t count);
/// `bias` may be null.
typedef void (*ck_layer_norm_fn)(const float *x, const float *weight, const float *bias, float epsilon, float *y,
                                 ptrdiff_t count);
typedef void (*ck_clamp_fn)(const float *x, float minimum, float maximum, float *y, ptrdiff_t count);
typedef void (*ck_add_rms_norm_fn)(const float *a, const float *b, const float *weight, float epsilon, float *sum, float *y,
                                   ptrdiff_t count);
/// Rotates `heads` heads of one row; `table` holds `pairs` cosines, then as many sines.
typedef void (*ck_rope_fn)(const float *x, const float *table, ptrdiff_t heads, ptrdiff_t head_dimension, ptrdiff_t pairs,
                           int32_t interleaved, float *y);
/// Largest element; NaN is passed over; minus infinity when there is none.
typedef float (*ck_maximum_fn)(const float *x, ptrdiff_t count);
/// Sum of exp(x - reference) in double.
typedef double (*ck_sum_exp_fn)(const float *x, float reference, ptrdiff_t count);
/// y = exp(x - reference) * factor.
typedef void (*ck_exp_fn)(const float *x, float reference, float factor, float *y, ptrdiff_t count);
typedef void (*ck_narrow_fn)(const float *x, uint16_t *y, ptrdiff_t count);

/// How cached keys or values are stored. Codes (all but floats and halves) have scales, INT4 also minima, both as halves;
/// those of FP8 are for values times 2^-8.
enum { CK_KV_F32 = 0, CK_KV_F16 = 1, CK_KV_INT8 = 2, CK_KV_INT4 = 3, CK_KV_FP8 = 4 };

/// The keys, or the values, of one head in pages: see KVPages.swift.
typedef struct ck_cache_side {
  void *const *pages;
  /// Tokens of a page, a multiple of CK_KEY_TILE.
  ptrdiff_t page_tokens;
  int32_t element;
  /// Elements of a token that share a scale, at most CK_KEY_TILE and a multiple of 16; 0 for keys that have a scale for each
  /// channel of a tile of CK_KEY_TILE keys.
  int32_t group;
  /// Bytes in a page before this head's panels, scales and minima. Scales of tokens are [group][page_tokens], those of channels
  /// [tile][head dimension rounded up to 16].
  ptrdiff_t offset;
  ptrdiff_t scales;
  ptrdiff_t minima;
} ck_cache_side;

/// One task of attention: one key/value head and the query rows that share it.
typedef struct ck_attention {
  /// `tokens * group` query rows: row r is token r / group, head r % group of the group.
  const float *q;
  ptrdiff_t q_stride;
  float *y;
  ptrdiff_t y_stride;
  ptrdiff_t tokens;
  ptrdiff_t group;
  ptrdiff_t head_dimension;
  /// Position of the first token; the others follow.
  ptrdiff_t first_position;
  /// Keys that a token sees, itself included; 0 for all.
  ptrdiff_t window;
  float scale;
  /// Logits become cap * tanh(logit / cap); 0 for none.
  float softcap;
  /// For each head of the group what is added to a logit for each key further on; null for nothing.
  const float *slopes;
  ck_cache_side keys;
  ck_cache_side values;
  /// The last keys and values once more, as floats or halves: a token sees those tiles there that do not end `recent` or more
  /// tokens before it. -1 for none.
  ck_cache_side recent_keys;
  ck_cache_side recent_values;
  ptrdiff_t recent;
  /// Sizes of the Hadamard blocks that keys and values are multiplied with; 0 for none.
  ptrdiff_t key_rotation;
  ptrdiff_t value_rotation;
  /// Elements of a value, and those that are stored: rounded up to 16.
  ptrdiff_t value_dimension;
  ptrdiff_t padded_dimension;
  /// For each head of the group a logit that takes its share of the softmax and has no value; null for none.
  const float *sinks;
  float *scratch;
} ck_attention;

/// Floats of scratch that an attention task of `rows` query rows needs.
ptrdiff_t ck_attention_scratch(ptrdiff_t rows, ptrdiff_t head_dimension, ptrdiff_t padded_dimension);

typedef void (*ck_attention_fn)(const ck_attention *task);

/// Keys and values of one head on their way into pages.
typedef struct ck_store {
  const float *k;
  ptrdiff_t k_stride;
  const float *v;
  ptrdiff_t v_stride;
  ptrdiff_t tokens;
  ptrdiff_t first_position;
  ptrdiff_t head_dimension;
  ptrdiff_t value_dimension;
  ck_cache_side keys;
  ck_cache_side values;
  ck_cache_side recent_keys;
  ck_cache_side recent_values;
  int32_t has_recent;
  ptrdiff_t key_rotation;
  ptrdiff_t value_rotation;
  /// Scales of INT8 and FP8 that are not chosen here; 0 for those that every group gets for itself.
  float key_scale;
  float value_scale;
  /// head_dimension + value_dimension floats.
  float *scratch;
} ck_store;

/// Stores the keys and values of one head for all tokens.
typedef void (*ck_store_fn)(const ck_store *task);

/// All kernels of one instruction set.
typedef struct ck_table {
  ck_linear_f32_fn linear_f32[CK_ENCODING_COUNT];
  /// Null for dense encodings.
  ck_linear_i8_fn linear_i8[CK_ENCODING_COUNT];
  ck_quantize_fn quantize;
  ck_fit_fn fit;
  ck_round_e4m3_fn round_e4m3;
  ck_outliers_fn outliers_q8;
  ck_outliers_fn outliers_q4;
  ck_binary_fn add;
  ck_binary_fn multiply;
  ck_unary_scalar_fn scale;
  ck_unary_fn silu;
  ck_unary_fn relu;
  ck_unary_fn sigmoid;
  ck_unary_fn gelu_sigmoid;
  ck_layer_norm_fn layer_norm;
  ck_clamp_fn clamp;
  /// y += scalar * x.
  ck_unary_scalar_fn add_scaled;
  ck_unary_fn gelu;
  ck_unary_fn gelu_tanh;
  ck_binary_fn swiglu;
  ck_unary_scalar_fn softcap;
  ck_hadamard_fn hadamard;
  ck_rms_norm_fn rms_norm;
  ck_add_rms_norm_fn add_rms_norm;
  ck_rope_fn rope;
  ck_maximum_fn maximum;
  ck_sum_exp_fn sum_exp;
  ck_exp_fn exp;
  ck_narrow_fn narrow_f16;
  ck_attention_fn attention;
  ck_store_fn store;
} ck_table;

enum { CK_PORTABLE = 0, CK_AVX2 = 1, CK_AVX512 = 2 };

/// The kernels of an instruction set; null when this processor, or this build, does not have it.
const ck_table *ck_table_for(int32_t instruction_set);

#include "CodebookKernels.h"

/// One row of a matrix as floats: scale * (code - zero) for codes.
void ck_decode_row(const ck_panels *w, ptrdiff_t row, float *y);

/// Cosines and sines of position * frequency for one token: `pairs` cosines, then as many sines, times `magnitude`.
void ck_rotary_table(int32_t position, const float *frequencies, ptrdiff_t pairs, float magnitude, float *table);

/// Interleaves up to 16 rows of elements of `width` (1, 2 or 4) bytes into a zeroed panel.
void ck_pack_dense(const uint8_t *source, ptrdiff_t source_stride, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t width,
                   uint8_t *panel);

/// Puts one row of codes (a byte each) into a panel that was filled with `padding` codes.
void ck_pack_codes(const uint8_t *codes, ptrdiff_t columns, int32_t shift, int32_t encoding, ptrdiff_t row_in_panel,
                   uint8_t *panel_codes);

/// Puts one row of 4-bit codes, two a byte with the first in the low nibble, into a `q4` panel.
void ck_pack_nibbles(const uint8_t *bytes, ptrdiff_t columns, ptrdiff_t row_in_panel, uint8_t *panel_codes);

/// How many elements of a row of bf16 are exceptions in a compact panel: those whose exponent is more than 15 less than the largest.
ptrdiff_t ck_count_exceptions(const uint8_t *row, ptrdiff_t columns);

/// Makes a compact panel of a plain bf16 one, in zeroed memory with room for its exceptions before `codes_offset`.
void ck_pack_compact(const uint8_t *source, ptrdiff_t columns, ptrdiff_t codes_offset, uint8_t *panel);

/// The first compact panel whose exceptions are more than there is room for, lie outside of it or are out of order; -1 if there is none.
ptrdiff_t ck_damaged_compact(const ck_panels *w);

/// The float nearest to a half, and the half nearest to a float, ties to even.
float ck_float_from_half(uint16_t half);
uint16_t ck_half_from_float(float value);

/// Tells the processor that this thread spins.
void ck_pause(void);

/// From now on the C library keeps freed blocks of up to 32 MiB for whoever wants one next. Returns 0 when it does not know how.
int ck_keep_freed_blocks(void);
/// Binds the calling thread to the `index`-th processor that the process may use.
void ck_pin_thread(int32_t index);
/// Processors that the process may use.
int32_t ck_processor_count(void);
/// Fetches memory into the second cache of the processor; harmless wherever it points.
void ck_fetch(const void *start, ptrdiff_t bytes);
/// Asks for large pages; harmless where there are none.
void ck_advise_large_pages(void *start, ptrdiff_t bytes);

/// Runs `repetitions` times 96 fused multiply-adds of 16 lanes; for measuring the peak. Zero where there is none.
ptrdiff_t ck_fma_burn(int32_t instruction_set, ptrdiff_t repetitions, float *sink);

#endif
