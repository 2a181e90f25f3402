// Products of q8 panels with fitted codes: vpmaddubsw multiplies bytes without a sign with bytes that have one and adds
// pairs in 16 bits, which hold 255 * 128 but not 2 * 255 * 127. Activations come less what makes pairs larger, which is
// one pair in a hundred; the rest is multiplied apart. Three instructions for 32 products instead of four and two
// for the signs of the codes. Included after body_linear_i8.h.

/// Tokens that are worked through at a time, so that their codes and sums stay in the first cache.
enum { FITTED_TOKENS = 96 };

/// Moves excess of the 32 codes at `k` of a row to the list; returns how long it is now.
static ptrdiff_t take_excess(int8_t *row, ptrdiff_t k, int32_t token, ck_excess *excess, ptrdiff_t count, ptrdiff_t room) {
  for (ptrdiff_t i = k; i < k + 32; i += 2) {
    int sum = row[i] + row[i + 1], most = sum > 128 ? 128 : sum < -128 ? -128 : sum;
    if (sum == most) continue;
    if (count == room) return room + 1;
    // Both have the sign of the sum; the larger one gives.
    ptrdiff_t at = (row[i + 1] > row[i]) == (sum > 0) ? i + 1 : i;
    int8_t quad[4] = {0};
    quad[at & 3] = (int8_t)(sum - most);
    row[at] = (int8_t)(row[at] - (sum - most));
    excess[count].token = token;
    excess[count].offset = (int32_t)(at / 4 * 64);
    memcpy(&excess[count].word, quad, 4);
    count++;
  }
  return count;
}

void ck_fit_i8_avx2(const int8_t *codes, ptrdiff_t code_stride, ptrdiff_t rows, ptrdiff_t length, int8_t *fitted,
                    ck_excess *excess, ptrdiff_t room, int32_t *starts) {
  const __m256i ones = _mm256_set1_epi8(1), most = _mm256_set1_epi16(128);
  ptrdiff_t count = 0;
  for (ptrdiff_t t = 0; t < rows; t++, codes += code_stride, fitted += length) {
    starts[t] = (int32_t)count;
    for (ptrdiff_t k = 0; k < length; k += 32) {
      __m256i bytes = _mm256_loadu_si256((const __m256i *)(codes + k));
      _mm256_storeu_si256((__m256i *)(fitted + k), bytes);
      __m256i pairs = _mm256_abs_epi16(_mm256_maddubs_epi16(ones, bytes));
      if (_mm256_testz_si256(_mm256_cmpgt_epi16(pairs, most), _mm256_cmpgt_epi16(pairs, most))) continue;
      count = take_excess(fitted, k, (int32_t)t, excess, count, room);
      if (count <= room) continue;
      starts[0] = -1;
      return;
    }
  }
  starts[rows] = (int32_t)count;
}

/// A block of columns for some tokens.
typedef struct fitted_part {
  const ck_panels *w;
  const ck_quantized *x;
  ptrdiff_t block;
  /// The first token, as the matrix of results counts, and how many there are.
  ptrdiff_t token;
  ptrdiff_t tokens;
  /// The row of the first token among the fitted ones.
  ptrdiff_t row;
} fitted_part;

/// What the sums of a token begin with in every panel: the share of the fixed zero point.
CK_INLINE void begin_sums(const fitted_part *part, ptrdiff_t t, int32_t *sums) {
  const ck_quantized *x = part->x;
  int32_t share = part->w->has_zeros ? 0 : -128 * x->sums[(part->token + t) * x->block_stride + part->block];
  _mm256_store_si256((__m256i *)(void *)(sums + 16 * t), _mm256_set1_epi32(share));
  _mm256_store_si256((__m256i *)(void *)(sums + 16 * t + 8), _mm256_set1_epi32(share));
}

CK_INLINE void add_one_excess(const fitted_part *part, const uint8_t *codes, const ck_excess *excess, int32_t *sums) {
  const __m256i ones = _mm256_set1_epi16(1), a = _mm256_set1_epi32(excess->word);
  const __m256i *from = (const __m256i *)(const void *)(codes + excess->offset);
  __m256i *to = (__m256i *)(void *)(sums + 16 * (excess->token - part->row));
  __m256i p0 = _mm256_maddubs_epi16(_mm256_loadu_si256(from), a), p1 = _mm256_maddubs_epi16(_mm256_loadu_si256(from + 1), a);
  _mm256_store_si256(to, _mm256_add_epi32(_mm256_load_si256(to), _mm256_madd_epi16(p0, ones)));
  _mm256_store_si256(to + 1, _mm256_add_epi32(_mm256_load_si256(to + 1), _mm256_madd_epi16(p1, ones)));
}

/// Adds the products of a panel with the excess of all tokens to their sums, from two places in turn: neighbours are often of
/// one token, and wait for each other.
CK_INLINE void add_excess(const fitted_part *part, const uint8_t *codes, const ck_excess *excess, ptrdiff_t count,
                          int32_t *sums) {
  ptrdiff_t half = count / 2;
  for (ptrdiff_t i = 0; i < half; i++) {
    add_one_excess(part, codes, excess + i, sums);
    add_one_excess(part, codes, excess + half + i, sums);
  }
  if (count & 1) add_one_excess(part, codes, excess + count - 1, sums);
}

/// T tokens from number `t` of the part on: y += sums * scales, and the bias at the end.
CK_INLINE void fitted_tokens(const int T, const ptrdiff_t n, const fitted_part *part, const grid *g, const uint8_t *codes,
                             const int32_t *sums, ptrdiff_t t, const float *bias, float *y, ptrdiff_t ys, ptrdiff_t rows) {
  const ck_quantized *x = part->x;
  const int8_t *a = x->fitted + (part->block * x->fitted_rows + part->row + t) * n;
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i sum[CK_I8_TOKENS][2];
  CK_UNROLL for (int i = 0; i < T; i++) CK_UNROLL for (int half = 0; half < 2; half++) sum[i][half] =
      _mm256_load_si256((const __m256i *)(const void *)(sums + 16 * (t + i) + 8 * half));
  _Pragma("clang loop unroll_count(4)") for (ptrdiff_t k = 0; k < n; k += 4, codes += 64) {
    __m256i w0 = _mm256_loadu_si256((const __m256i *)(const void *)codes);
    __m256i w1 = _mm256_loadu_si256((const __m256i *)(const void *)(codes + 32));
    CK_UNROLL for (int i = 0; i < T; i++) {
      __m256i four_codes = four(a + i * n + k);
      sum[i][0] = _mm256_add_epi32(sum[i][0], _mm256_madd_epi16(_mm256_maddubs_epi16(w0, four_codes), ones));
      sum[i][1] = _mm256_add_epi32(sum[i][1], _mm256_madd_epi16(_mm256_maddubs_epi16(w1, four_codes), ones));
    }
  }
  const ptrdiff_t at = (part->token + t) * x->block_stride + part->block;
  float *to = y + (part->token + t) * ys;
  CK_UNROLL for (int i = 0; i < T; i++, to += ys) {
    v16 whole = v_make(_mm256_cvtepi32_ps(sum[i][0]), _mm256_cvtepi32_ps(sum[i][1]));
    if (part->w->has_zeros) whole = v_fma(g->zero, v_set(-(float)x->sums[at + i * x->block_stride]), whole);
    v16 before = part->block > 0 ? load_results(to, rows) : v_zero();
    v16 result = v_fma(whole, v_mul(g->scale, v_set(x->scales[at + i * x->block_stride])), before);
    if (bias) result = v_add(result, load_results(bias, rows));
    store_results(to, result, rows);
  }
}

CK_INLINE void fitted_rows(const ptrdiff_t n, const fitted_part *part, const uint8_t *panel, const uint8_t *codes,
                           const int32_t *sums, const float *bias, float *y, ptrdiff_t ys, ptrdiff_t rows) {
  ptrdiff_t t = 0;
  grid g = block_grid(part->w, panel, part->block, 0);
  for (; t + CK_I8_TOKENS <= part->tokens; t += CK_I8_TOKENS)
    fitted_tokens(CK_I8_TOKENS, n, part, &g, codes, sums, t, bias, y, ys, rows);
  for (; t < part->tokens; t++) fitted_tokens(1, n, part, &g, codes, sums, t, bias, y, ys, rows);
}

/// One panel; `sums` are those that every panel begins with, before and after.
CK_NOINLINE void fitted_panel(const fitted_part *part, ptrdiff_t p, int32_t *sums, const float *bias, float *y,
                              ptrdiff_t ys) {
  const ck_panels *w = part->w;
  const ck_quantized *x = part->x;
  const uint8_t *panel = w->bytes + p * w->panel_bytes;
  const uint8_t *codes = panel + w->codes_offset + part->block * w->block_length * 16;
  const int32_t *starts = x->starts + part->block * (x->fitted_rows + 1) + part->row;
  const ck_excess *excess = x->excess + part->block * x->excess_room + starts[0];
  ptrdiff_t rows = w->rows - p * CK_PANEL, count = starts[part->tokens] - starts[0];
  y += p * CK_PANEL;
  if (bias) bias += p * CK_PANEL;
  // The next panel lies elsewhere; a prefetch beyond the last one does nothing.
  for (ptrdiff_t i = 0; i < w->block_length * 16; i += 64) __builtin_prefetch(codes + w->panel_bytes + i);
  add_excess(part, codes, excess, count, sums);
  // The usual case once more with its sizes known, whose addresses then take no registers.
  if (w->block_length == 128 && rows >= CK_PANEL) fitted_rows(128, part, panel, codes, sums, bias, y, ys, CK_PANEL);
  else fitted_rows(w->block_length, part, panel, codes, sums, bias, y, ys, rows);
  for (ptrdiff_t i = 0; i < count; i++) begin_sums(part, excess[i].token - part->row, sums);
}

/// A linear layer of more than a few tokens whose codes were fitted, block after block; a block with too much excess in the
/// other way. 0 when there are no fitted codes.
static int linear_fitted(const ck_panels *w, const ck_quantized *x, ptrdiff_t tokens, const float *bias, float *y,
                         ptrdiff_t ys, ptrdiff_t first, ptrdiff_t count) {
  if (!x->fitted || tokens <= CK_I8_TOKENS) return 0;
  ptrdiff_t blocks = (w->columns + w->block_length - 1) / w->block_length;
  _Alignas(32) int32_t sums[FITTED_TOKENS * CK_PANEL];
  for (ptrdiff_t b = 0; b == 0 || b < blocks; b++) {
    const float *ends = b + 1 >= blocks ? bias : 0;
    if (blocks == 0 || x->starts[b * (x->fitted_rows + 1)] < 0) {
      chunk_ck_linear_q8_i8(w, x, tokens, ends, y, ys, first, count, b, b < blocks ? b + 1 : blocks);
      continue;
    }
    for (ptrdiff_t t = 0; t < tokens; t += FITTED_TOKENS) {
      fitted_part part = {w, x, b, t, tokens - t < FITTED_TOKENS ? tokens - t : FITTED_TOKENS, x->first_row + t};
      for (ptrdiff_t i = 0; i < part.tokens; i++) begin_sums(&part, i, sums);
      for (ptrdiff_t p = first; p < first + count; p++) fitted_panel(&part, p, sums, ends, y, ys);
    }
  }
  return 1;
}
