// Products of q8 panels with fitted codes: vpmaddubsw multiplies bytes without a sign with bytes that have one and adds
// pairs in 16 bits, which hold 255 * 128 but not 2 * 255 * 127. Activations come less what makes pairs larger, which is
// one pair in a hundred; the rest is multiplied apart.
//
// The products of four or eight pairs are added up in 16 bits as well, modulo 2^16, less 128 times the activations: what remains
// are products of codes with a sign, which fit if their norms say so (Cauchy's inequality), as nearly all do. Eighteen or
// twenty instructions then make 256 products, of which nine or ten multiply; where norms are too large, twenty-four do.
// Included after body_linear_i8.h.

/// Tokens that are worked through at a time, so that their codes and sums stay in the first cache.
enum { FITTED_TOKENS = 96 };
/// Panels whose results for these tokens stay in the second cache while the blocks of columns pass by.
enum { FITTED_PANELS = 8 };

/// Columns whose products are added up in 16 bits, at least, and the most that 2^16 goes into the product of two energies:
/// (32767 / 4)^2 is more than 1023 times as much.
enum { WIDE_COLUMNS = 16, WIDE_ENERGY = 1022 };

/// Keeps the compiler from adding in another order, which takes more registers than there are, or from keeping sums in them.
#define CK_KEEP(v) __asm__("" : "+x"(v))
#define CK_KEEP_MEMORY() __asm__ volatile("" ::: "memory")

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

/// In every four bytes of a half what its four words of 32 bits add up to, in two sums of 16.
CK_INLINE __m256i sum_words(__m256i v) {
  v = _mm256_add_epi16(v, _mm256_shuffle_epi32(v, 0x4E));
  return _mm256_add_epi16(v, _mm256_shuffle_epi32(v, 0xB1));
}

/// Quarters of squares of pairs; codes of -128 count as more.
CK_INLINE __m256i pair_energies(__m256i magnitudes) {
  return _mm256_srli_epi16(_mm256_maddubs_epi16(magnitudes, magnitudes), 2);
}

CK_INLINE int32_t largest_word(__m256i v) {
  __m128i eight = _mm_max_epu16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  // The smallest of the complements.
  return 65535 - _mm_extract_epi16(_mm_minpos_epu16(_mm_xor_si128(eight, _mm_set1_epi16(-1))), 0);
}

void ck_fit_i8_avx2(const int8_t *codes, ptrdiff_t code_stride, ptrdiff_t rows, ptrdiff_t length, int8_t *fitted,
                    ck_excess *excess, ptrdiff_t room, int32_t *starts, ck_fitted_row *sums, int32_t *centers) {
  const __m256i ones = _mm256_set1_epi8(1), most = _mm256_set1_epi16(128), words = _mm256_set1_epi16(1);
  ptrdiff_t count = 0;
  for (ptrdiff_t t = 0; t < rows; t++, codes += code_stride, fitted += length) {
    __m256i total = _mm256_setzero_si256();
    starts[t] = (int32_t)count;
    memset(sums[t].energies, 0, sizeof sums[t].energies);
    for (ptrdiff_t k = 0; k < length; k += 32, centers += 2) {
      __m256i bytes = _mm256_loadu_si256((const __m256i *)(const void *)(codes + k));
      __m256i pairs = _mm256_maddubs_epi16(ones, bytes), large = _mm256_cmpgt_epi16(_mm256_abs_epi16(pairs), most);
      _mm256_storeu_si256((__m256i *)(void *)(fitted + k), bytes);
      if (!_mm256_testz_si256(large, large)) {
        count = take_excess(fitted, k, (int32_t)t, excess, count, room);
        if (count > room) {
          starts[0] = -1;
          return;
        }
        bytes = _mm256_loadu_si256((const __m256i *)(const void *)(fitted + k));
        pairs = _mm256_maddubs_epi16(ones, bytes);
      }
      total = _mm256_add_epi16(total, pairs);
      __m256i own = sum_words(pair_energies(_mm256_abs_epi8(bytes)));
      __m128i low = _mm256_castsi256_si128(own), high = _mm256_extracti128_si256(own, 1);
      __m128i both = _mm_unpacklo_epi16(_mm_max_epu16(low, high), _mm_add_epi16(low, high));
      both = _mm_max_epu16(both, _mm_shuffle_epi32(both, 0xB1));
      // Each of four pairs lost less than one.
      uint32_t energies = (uint32_t)_mm_cvtsi128_si32(both) + 0x00060003u;
      memcpy(sums[t].energies + k / 16, &energies, 4);
      __m256i center = _mm256_sub_epi16(_mm256_setzero_si256(), _mm256_slli_epi16(sum_words(pairs), 7));
      centers[0] = _mm256_extract_epi32(center, 0);
      centers[1] = _mm256_extract_epi32(center, 4);
    }
    total = _mm256_madd_epi16(total, words);
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(total), _mm256_extracti128_si256(total, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    sums[t].sum = _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xB1)));
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

/// sums[token] += (codes - 128) * excess.
CK_INLINE void add_one_excess(const fitted_part *part, const uint8_t *codes, const ck_excess *excess, int32_t *sums) {
  const __m256i ones = _mm256_set1_epi16(1), a = _mm256_set1_epi32(excess->word);
  const __m256i center = _mm256_maddubs_epi16(_mm256_set1_epi8((char)0x80), a);
  const __m256i *from = (const __m256i *)(const void *)(codes + excess->offset);
  __m256i *to = (__m256i *)(void *)(sums + 16 * (excess->token - part->row));
  CK_UNROLL for (int half = 0; half < 2; half++) {
    __m256i products = _mm256_sub_epi16(_mm256_maddubs_epi16(_mm256_loadu_si256(from + half), a), center);
    _mm256_store_si256(to + half, _mm256_add_epi32(_mm256_load_si256(to + half), _mm256_madd_epi16(products, ones)));
  }
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

/// The energies of 32 columns of a panel.
CK_INLINE void take_energies(const uint8_t *codes, uint16_t *energies) {
  const __m256i bias = _mm256_set1_epi8((char)0x80);
  __m256i eight = _mm256_setzero_si256(), sixteen = eight;
  CK_UNROLL for (int half = 0; half < 2; half++) {
    __m256i sum[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    CK_UNROLL for (int u = 0; u < 8; u++) {
      __m256i w = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(const void *)(codes + 64 * u) + half), bias);
      sum[u / 4] = _mm256_add_epi16(sum[u / 4], pair_energies(_mm256_abs_epi8(w)));
    }
    eight = _mm256_max_epu16(eight, _mm256_max_epu16(sum[0], sum[1]));
    sixteen = _mm256_max_epu16(sixteen, _mm256_adds_epu16(sum[0], sum[1]));
  }
  // Sums of 16 squares are at most 4 * 65536: where codes of -128 counted as more, that is what is left.
  int32_t most = largest_word(sixteen) + 6;
  energies[0] = (uint16_t)(largest_word(eight) + 3);
  energies[1] = (uint16_t)(most > 65535 ? 65535 : most);
}

/// Of each energy two bits that say whether its product with those of T rows fits.
CK_INLINE int fitting_energies(const int T, __m128i energies, const ck_fitted_row *rows) {
  __m128i most = _mm_setzero_si128();
  CK_UNROLL for (int i = 0; i < T; i++) most =
      _mm_max_epu16(most, _mm_loadu_si128((const __m128i *)(const void *)rows[i].energies));
  __m128i beyond = _mm_subs_epu16(_mm_mulhi_epu16(most, energies), _mm_set1_epi16(WIDE_ENERGY));
  return _mm_movemask_epi8(_mm_cmpeq_epi16(beyond, _mm_setzero_si128()));
}

/// sums[t] += (codes - 128) * activations of T tokens, four pairs at a time in 16 bits, or eight.
CK_INLINE void wide_sums(const int T, const int eight, const ptrdiff_t n, const uint8_t *codes, const int8_t *a, const int32_t *centers,
                         int32_t *sums) {
  const __m256i ones = _mm256_set1_epi16(1);
  for (ptrdiff_t k = 0; k < n; k += WIDE_COLUMNS << eight, centers += 1 << eight) {
    __m256i part[CK_I8_TOKENS][2];
    CK_UNROLL for (int i = 0; i < T; i++) {
      const int32_t *center = centers + i * (n / WIDE_COLUMNS);
      part[i][0] = _mm256_set1_epi32(center[0]);
      if (eight) part[i][0] = _mm256_add_epi16(part[i][0], _mm256_set1_epi32(center[1]));
      part[i][1] = part[i][0];
    }
    CK_UNROLL for (int u = 0; u < 4 << eight; u++, codes += 64) {
      __m256i w0 = _mm256_loadu_si256((const __m256i *)(const void *)codes);
      __m256i w1 = _mm256_loadu_si256((const __m256i *)(const void *)(codes + 32));
      CK_UNROLL for (int i = 0; i < T; i++) {
        __m256i four_codes = four(a + i * n + k + 4 * u);
        part[i][0] = _mm256_add_epi16(part[i][0], _mm256_maddubs_epi16(w0, four_codes));
        part[i][1] = _mm256_add_epi16(part[i][1], _mm256_maddubs_epi16(w1, four_codes));
        CK_KEEP(part[i][0]);
        CK_KEEP(part[i][1]);
      }
    }
    CK_UNROLL for (int i = 0; i < T; i++) CK_UNROLL for (int half = 0; half < 2; half++) {
      __m256i *sum = (__m256i *)(void *)(sums + 16 * i + 8 * half);
      _mm256_store_si256(sum, _mm256_add_epi32(_mm256_load_si256(sum), _mm256_madd_epi16(part[i][half], ones)));
    }
    CK_KEEP_MEMORY();
  }
}

/// The same, a pair at a time.
CK_INLINE void narrow_sums(const int T, const ptrdiff_t n, const uint8_t *codes, const int8_t *a,
                           const ck_fitted_row *rows, int32_t *sums) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i sum[CK_I8_TOKENS][2];
  CK_UNROLL for (int i = 0; i < T; i++) CK_UNROLL for (int half = 0; half < 2; half++) sum[i][half] = _mm256_add_epi32(
      _mm256_load_si256((const __m256i *)(const void *)(sums + 16 * i + 8 * half)), _mm256_set1_epi32(-128 * rows[i].sum));
  _Pragma("clang loop unroll_count(4)") for (ptrdiff_t k = 0; k < n; k += 4, codes += 64) {
    __m256i w0 = _mm256_loadu_si256((const __m256i *)(const void *)codes);
    __m256i w1 = _mm256_loadu_si256((const __m256i *)(const void *)(codes + 32));
    CK_UNROLL for (int i = 0; i < T; i++) {
      __m256i four_codes = four(a + i * n + k);
      sum[i][0] = _mm256_add_epi32(sum[i][0], _mm256_madd_epi16(_mm256_maddubs_epi16(w0, four_codes), ones));
      sum[i][1] = _mm256_add_epi32(sum[i][1], _mm256_madd_epi16(_mm256_maddubs_epi16(w1, four_codes), ones));
    }
  }
  CK_UNROLL for (int i = 0; i < T; i++) CK_UNROLL for (int half = 0; half < 2; half++)
      _mm256_store_si256((__m256i *)(void *)(sums + 16 * i + 8 * half), sum[i][half]);
}

/// Sums as floats, which become zero where they are.
CK_INLINE v16 take_sums(int32_t *sums) {
  __m256i *at = (__m256i *)(void *)sums;
  v16 whole = v_make(_mm256_cvtepi32_ps(_mm256_load_si256(at)), _mm256_cvtepi32_ps(_mm256_load_si256(at + 1)));
  _mm256_store_si256(at, _mm256_setzero_si256());
  _mm256_store_si256(at + 1, _mm256_setzero_si256());
  return whole;
}

/// Results of T tokens from number `t` of the part on: y += sums * scales, and the bias at the end. Sums become zero.
CK_INLINE void finish_tokens(const int T, const fitted_part *part, const grid *g, int32_t *sums, ptrdiff_t t,
                             const float *bias, float *y, ptrdiff_t ys, ptrdiff_t rows) {
  const ck_quantized *x = part->x;
  const ptrdiff_t stride = x->block_stride, at = (part->token + t) * stride + part->block;
  const float *scales = x->scales + at;
  float *to = y + (part->token + t) * ys;
  // The usual case has neither zero points nor an end.
  if (part->block > 0 && !part->w->has_zeros && !bias && rows >= CK_PANEL) {
    CK_UNROLL for (int i = 0; i < T; i++, to += ys, scales += stride)
        v_store(to, v_fma(take_sums(sums + 16 * i), v_mul(g->scale, v_set(*scales)), v_load(to)));
    return;
  }
  for (int i = 0; i < T; i++, to += ys) {
    v16 whole = take_sums(sums + 16 * i);
    if (part->w->has_zeros) whole = v_fma(g->zero, v_set(-(float)x->sums[at + i * stride]), whole);
    v16 before = part->block > 0 ? load_results(to, rows) : v_zero();
    v16 result = v_fma(whole, v_mul(g->scale, v_set(scales[i * stride])), before);
    if (bias) result = v_add(result, load_results(bias, rows));
    store_results(to, result, rows);
  }
}

CK_INLINE void fitted_tokens(const int T, const ptrdiff_t n, const fitted_part *part, const grid *g, const uint8_t *codes,
                             __m128i energies, int32_t *sums, ptrdiff_t t, const float *bias, float *y, ptrdiff_t ys,
                             ptrdiff_t rows) {
  const ptrdiff_t row = part->block * part->x->fitted_rows + part->row + t;
  const int8_t *a = part->x->fitted + row * n;
  const ck_fitted_row *own = part->x->fitted_sums + row;
  const int32_t *centers = part->x->centers + row * (n / WIDE_COLUMNS);
  const int fitting = fitting_energies(T, energies, own);
  sums += 16 * t;
  if ((fitting & 0xCCCC) == 0xCCCC) wide_sums(T, 1, n, codes, a, centers, sums);
  else if ((fitting & 0x3333) == 0x3333) wide_sums(T, 0, n, codes, a, centers, sums);
  else narrow_sums(T, n, codes, a, own, sums);
  finish_tokens(T, part, g, sums, t, bias, y, ys, rows);
}

CK_INLINE void fitted_rows(const ptrdiff_t n, const fitted_part *part, const uint8_t *panel, const uint8_t *codes,
                           int32_t *sums, const float *bias, float *y, ptrdiff_t ys, ptrdiff_t rows) {
  ptrdiff_t t = 0;
  grid g = block_grid(part->w, panel, part->block, 128);
  g.zero = v_sub(g.zero, v_set(128));
  uint16_t most[8] = {0};
  for (ptrdiff_t k = 0; k < n; k += 32) take_energies(codes + k * 16, most + k / 16);
  const __m128i energies = _mm_loadu_si128((const __m128i *)(const void *)most);
  for (; t + CK_I8_TOKENS <= part->tokens; t += CK_I8_TOKENS)
    fitted_tokens(CK_I8_TOKENS, n, part, &g, codes, energies, sums, t, bias, y, ys, rows);
  for (; t < part->tokens; t++) fitted_tokens(1, n, part, &g, codes, energies, sums, t, bias, y, ys, rows);
}

/// One panel; `sums` are zeros, before and after.
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
}

/// Some tokens and panels, block after block; a block with too much excess in the other way.
static void fitted_blocks(const ck_panels *w, const ck_quantized *x, ptrdiff_t token, ptrdiff_t tokens, const float *bias,
                          float *y, ptrdiff_t ys, ptrdiff_t first, ptrdiff_t count, int32_t *sums) {
  const ptrdiff_t blocks = (w->columns + w->block_length - 1) / w->block_length;
  for (ptrdiff_t b = 0; b == 0 || b < blocks; b++) {
    const float *ends = b + 1 >= blocks ? bias : 0;
    if (blocks == 0 || x->starts[b * (x->fitted_rows + 1)] < 0) {
      ck_quantized rest = *x;
      rest.codes += token * x->code_stride;
      rest.scales += token * x->block_stride;
      rest.sums += token * x->block_stride;
      chunk_ck_linear_q8_i8(w, &rest, tokens, ends, y + token * ys, ys, first, count, b, b < blocks ? b + 1 : blocks);
      continue;
    }
    fitted_part part = {w, x, b, token, tokens, x->first_row + token};
    for (ptrdiff_t p = first; p < first + count; p++) fitted_panel(&part, p, sums, ends, y, ys);
  }
}

/// A linear layer of more than a few tokens whose codes were fitted. 0 when there are no fitted codes.
static int linear_fitted(const ck_panels *w, const ck_quantized *x, ptrdiff_t tokens, const float *bias, float *y,
                         ptrdiff_t ys, ptrdiff_t first, ptrdiff_t count) {
  if (!x->fitted || tokens <= CK_I8_TOKENS) return 0;
  _Alignas(32) int32_t sums[FITTED_TOKENS * CK_PANEL] = {0};
  for (ptrdiff_t t = 0; t < tokens; t += FITTED_TOKENS) {
    const ptrdiff_t some = tokens - t < FITTED_TOKENS ? tokens - t : FITTED_TOKENS;
    for (ptrdiff_t p = first, end = first + count; p < end; p += FITTED_PANELS)
      fitted_blocks(w, x, t, some, bias, y, ys, p, end - p < FITTED_PANELS ? end - p : FITTED_PANELS, sums);
  }
  return 1;
}
