// Causal attention over pages of keys and values, one key/value head at a time, with an online softmax over tiles of
// CK_KEY_TILE keys that begin at fixed positions: a row's bits do not depend on the rows beside it.
// Included after body_cache.h.

/// Per query row: maximum so far, sixteen partial sums, results.
typedef struct running {
  float *maximum;
  float *sums;
  float *results;
} running;

/// Where a task works: see ck_attention_scratch.
typedef struct bench {
  /// Floats between query rows, a multiple of 16; the last ones of a row are zero.
  ptrdiff_t stride;
  float *queries;
  /// Queries times the scales of a tile's channels, or weights times the scales of its values.
  float *scaled;
  float *logits;
  /// Sums of products before they are scaled.
  float *parts;
  float *wide;
} bench;

/// Turns a row of logits into weights: masks them, raises the maximum, rescales what was summed before.
CK_INLINE void weigh(const ck_attention *task, float *logits, ptrdiff_t panels, ptrdiff_t first_key, ptrdiff_t seen_from,
                     ptrdiff_t seen_to, ptrdiff_t row, const running *state) {
  v16 best = v_set(-__builtin_inff());
  int masked = seen_from > first_key || seen_to < first_key + panels * CK_PANEL;
  for (ptrdiff_t p = 0; p < panels; p++) {
    v16 value = v_mul(v_load(logits + p * CK_PANEL), v_set(task->scale));
    if (task->softcap > 0)
      value = v_mul(v_set(task->softcap), v_tanh(v_div(value, v_set(task->softcap))));
    if (task->slopes) {
      // Whole numbers: distances are exact in float32 far beyond any context.
      float distances[16];
      for (ptrdiff_t i = 0; i < CK_PANEL; i++) distances[i] = (float)(first_key + p * CK_PANEL + i - (seen_to - 1));
      value = v_add(value, v_mul(v_set(task->slopes[row % task->group]), v_load(distances)));
    }
    if (masked) {
      float buffer[16];
      v_store(buffer, value);
      for (ptrdiff_t i = 0; i < CK_PANEL; i++) {
        ptrdiff_t key = first_key + p * CK_PANEL + i;
        if (key < seen_from || key >= seen_to) buffer[i] = -__builtin_inff();
      }
      value = v_load(buffer);
    }
    v_store(logits + p * CK_PANEL, value);
    best = v_max(value, best);
  }
  float before = state->maximum[row], tile = v_maximum(best), now = tile > before ? tile : before;
  v16 reference = v_set(now == -__builtin_inff() ? 0 : now);
  v16 sum = v_load(state->sums + row * CK_PANEL);
  if (now != before) {
    // Before the first key everything summed is zero, and exp gives zero too.
    v16 factor = v_exp(v_sub(v_set(before), reference));
    sum = v_mul(sum, factor);
    float *results = state->results + row * task->padded_dimension;
    for (ptrdiff_t d = 0; d < task->padded_dimension; d += CK_PANEL) v_store(results + d, v_mul(v_load(results + d), factor));
    state->maximum[row] = now;
  }
  for (ptrdiff_t p = 0; p < panels; p++) {
    v16 weight = v_exp(v_sub(v_load(logits + p * CK_PANEL), reference));
    v_store(logits + p * CK_PANEL, weight);
    sum = v_add(sum, weight);
  }
  v_store(state->sums + row * CK_PANEL, sum);
}

/// logits[r][16 panels] of `rows` rows from row `first_row` on, for a tile of keys with a scale for each key and group of
/// elements: the products of codes are scaled, and the sum of a query's elements takes the minimum.
static void grouped_logits(const ck_cache_side *side, const uint8_t *page, ptrdiff_t inside, ptrdiff_t dimension,
                           ptrdiff_t first_row, ptrdiff_t rows, ptrdiff_t panels, const bench *b) {
  const uint8_t *codes = page + side->offset + column_bytes(side->element, dimension) * (inside / CK_PANEL);
  for (ptrdiff_t start = 0, g = 0; start < dimension; start += side->group, g++) {
    ptrdiff_t count = dimension - start < side->group ? dimension - start : side->group;
    products(side->element, b->queries + first_row * b->stride + start, b->stride,
             codes + column_bytes(side->element, start), column_bytes(side->element, dimension), count, rows, panels,
             b->parts, CK_KEY_TILE, 0, b->wide);
    const uint16_t *scales = (const uint16_t *)(const void *)(page + side->scales) + g * side->page_tokens + inside;
    const uint16_t *minima = (const uint16_t *)(const void *)(page + side->minima) + g * side->page_tokens + inside;
    for (ptrdiff_t r = 0; r < rows; r++) {
      float *logits = b->logits + (first_row + r) * CK_KEY_TILE;
      v16 total = v_zero();
      if (has_minima(side)) {
        const float *query = b->queries + (first_row + r) * b->stride + start;
        for (ptrdiff_t d = 0; d < count; d += CK_PANEL) total = v_add(total, v_load(query + d));
        total = v_set(v_sum(total));
      }
      for (ptrdiff_t p = 0; p < panels * CK_PANEL; p += CK_PANEL) {
        v16 value = g > 0 ? v_load(logits + p) : v_zero();
        value = v_fma(v_load(b->parts + r * CK_KEY_TILE + p), load_scales(side, scales + p), value);
        if (has_minima(side)) value = v_fma(total, v_load_f16(minima + p), value);
        v_store(logits + p, value);
      }
    }
  }
}

/// The same with a scale for each channel of a tile: the query is scaled.
static void channel_logits(const ck_cache_side *side, const uint8_t *page, ptrdiff_t inside, ptrdiff_t dimension,
                           ptrdiff_t first_row, ptrdiff_t rows, ptrdiff_t panels, const bench *b) {
  const uint16_t *scales =
      (const uint16_t *)(const void *)(page + side->scales) + inside / CK_KEY_TILE * b->stride;
  const uint16_t *minima =
      (const uint16_t *)(const void *)(page + side->minima) + inside / CK_KEY_TILE * b->stride;
  for (ptrdiff_t r = 0; r < rows; r++) {
    const float *query = b->queries + (first_row + r) * b->stride;
    for (ptrdiff_t d = 0; d < b->stride; d += CK_PANEL)
      v_store(b->scaled + r * b->stride + d, v_mul(v_load(query + d), load_scales(side, scales + d)));
  }
  products(side->element, b->scaled, b->stride,
           page + side->offset + column_bytes(side->element, dimension) * (inside / CK_PANEL),
           column_bytes(side->element, dimension), dimension, rows, panels, b->logits + first_row * CK_KEY_TILE,
           CK_KEY_TILE, 0, b->wide);
  if (!has_minima(side)) return;
  for (ptrdiff_t r = 0; r < rows; r++) {
    const float *query = b->queries + (first_row + r) * b->stride;
    v16 total = v_zero();
    for (ptrdiff_t d = 0; d < b->stride; d += CK_PANEL) total = v_fma(v_load(query + d), v_load_f16(minima + d), total);
    total = v_set(v_sum(total));
    float *logits = b->logits + (first_row + r) * CK_KEY_TILE;
    for (ptrdiff_t p = 0; p < panels * CK_PANEL; p += CK_PANEL) v_store(logits + p, v_add(v_load(logits + p), total));
  }
}

/// results[r] += weights[r] * values of a tile with a scale for each value and group: weights are scaled.
static void grouped_values(const ck_attention *task, const ck_cache_side *side, const uint8_t *page, ptrdiff_t inside,
                           ptrdiff_t first_row, ptrdiff_t rows, ptrdiff_t panels, const bench *b, float *results) {
  ptrdiff_t tokens = panels * CK_PANEL, panel_bytes = column_bytes(side->element, side->page_tokens);
  for (ptrdiff_t start = 0, g = 0; start < task->padded_dimension; start += side->group, g++) {
    ptrdiff_t count = task->padded_dimension - start < side->group ? task->padded_dimension - start : side->group;
    const uint16_t *scales = (const uint16_t *)(const void *)(page + side->scales) + g * side->page_tokens + inside;
    const uint16_t *minima = (const uint16_t *)(const void *)(page + side->minima) + g * side->page_tokens + inside;
    for (ptrdiff_t r = 0; r < rows; r++) {
      const float *weights = b->logits + (first_row + r) * CK_KEY_TILE;
      v16 total = v_zero();
      for (ptrdiff_t t = 0; t < tokens; t += CK_PANEL) {
        v_store(b->parts + r * CK_KEY_TILE + t, v_mul(v_load(weights + t), load_scales(side, scales + t)));
        if (has_minima(side)) total = v_fma(v_load(weights + t), v_load_f16(minima + t), total);
      }
      if (!has_minima(side)) continue;
      total = v_set(v_sum(total));
      float *to = results + r * task->padded_dimension + start;
      for (ptrdiff_t d = 0; d < count; d += CK_PANEL) v_store(to + d, v_add(v_load(to + d), total));
    }
    products(side->element, b->parts, CK_KEY_TILE,
             page + side->offset + start / CK_PANEL * panel_bytes + column_bytes(side->element, inside), panel_bytes,
             tokens, rows, count / CK_PANEL, results + start, task->padded_dimension, 1, b->wide);
  }
}

/// Whole numbers in the place of a query, in the row's part of `scaled`; the scales of its groups follow them.
CK_INLINE int16_t *query_numbers(const bench *b, ptrdiff_t row) { return (int16_t *)(void *)(b->scaled + row * b->stride); }
CK_INLINE float *query_scales(const bench *b, ptrdiff_t row) { return b->scaled + row * b->stride + b->stride / 2; }

/// logits[r][16 panels] like those of ``grouped_logits``, from int8 codes and whole numbers.
static void whole_logits(const ck_cache_side *side, const uint8_t *page, ptrdiff_t inside, ptrdiff_t dimension,
                         ptrdiff_t first_row, ptrdiff_t rows, ptrdiff_t panels, const bench *b) {
  const int8_t *codes =
      (const int8_t *)page + side->offset + column_bytes(side->element, dimension) * (inside / CK_PANEL);
  int32_t *sums = (int32_t *)(void *)b->parts;
  for (ptrdiff_t start = 0, g = 0; start < dimension; start += side->group, g++) {
    ptrdiff_t count = dimension - start < side->group ? dimension - start : side->group;
    const uint16_t *scales = (const uint16_t *)(const void *)(page + side->scales) + g * side->page_tokens + inside;
    for (ptrdiff_t p = 0; p < panels; p++) {
      code_sums(query_numbers(b, first_row) + start, 2 * b->stride,
                codes + column_bytes(side->element, dimension) * p + column_bytes(side->element, start), count, rows, sums,
                (int16_t *)(void *)b->wide);
      v16 scale = v_load_f16(scales + p * CK_PANEL);
      for (ptrdiff_t r = 0; r < rows; r++) {
        float *logits = b->logits + (first_row + r) * CK_KEY_TILE + p * CK_PANEL;
        v16 before = g > 0 ? v_load(logits) : v_zero();
        v16 factor = v_mul(scale, v_set(query_scales(b, first_row + r)[g]));
        v_store(logits, v_fma(v_load_i32(sums + r * CK_PANEL), factor, before));
      }
    }
  }
}

/// results[r] += weights[r] * values like ``grouped_values``, from int8 codes and whole numbers: weights times scales become such,
/// tile by tile.
static void whole_values(const ck_attention *task, const ck_cache_side *side, const uint8_t *page, ptrdiff_t inside,
                         ptrdiff_t first_row, ptrdiff_t rows, ptrdiff_t panels, const bench *b, float *results) {
  ptrdiff_t tokens = panels * CK_PANEL, panel_bytes = column_bytes(side->element, side->page_tokens);
  int16_t *numbers = (int16_t *)(void *)b->parts;
  int32_t *sums = (int32_t *)(void *)(b->parts + rows * CK_KEY_TILE / 2);
  float *factors = b->parts + rows * (CK_KEY_TILE / 2 + CK_PANEL);
  for (ptrdiff_t start = 0, g = 0; start < task->padded_dimension; start += side->group, g++) {
    ptrdiff_t count = task->padded_dimension - start < side->group ? task->padded_dimension - start : side->group;
    const uint16_t *scales = (const uint16_t *)(const void *)(page + side->scales) + g * side->page_tokens + inside;
    for (ptrdiff_t r = 0; r < rows; r++) {
      const float *weights = b->logits + (first_row + r) * CK_KEY_TILE;
      float scaled[CK_KEY_TILE];
      for (ptrdiff_t t = 0; t < tokens; t += CK_PANEL)
        v_store(scaled + t, v_mul(v_load(weights + t), v_load_f16(scales + t)));
      factors[r] = whole_numbers(scaled, tokens, numbers + r * CK_KEY_TILE);
    }
    for (ptrdiff_t d = start; d < start + count; d += CK_PANEL) {
      const uint8_t *codes =
          page + side->offset + d / CK_PANEL * panel_bytes + column_bytes(side->element, inside);
      code_sums(numbers, CK_KEY_TILE, (const int8_t *)codes, tokens, rows, sums, (int16_t *)(void *)b->wide);
      for (ptrdiff_t r = 0; r < rows; r++) {
        float *to = results + r * task->padded_dimension + d;
        v_store(to, v_fma(v_load_i32(sums + r * CK_PANEL), v_set(factors[r]), v_load(to)));
      }
    }
  }
}

/// One tile of keys for the query rows from `first_row` on, from the sides given.
static void attend_tile(const ck_attention *task, const ck_cache_side *keys, const ck_cache_side *values,
                        ptrdiff_t first_row, ptrdiff_t rows, ptrdiff_t first_key, ptrdiff_t count, const bench *b,
                        const running *state) {
  ptrdiff_t inside = first_key % keys->page_tokens;
  ptrdiff_t dimension = task->head_dimension, panels = (count + CK_PANEL - 1) / CK_PANEL;
  const uint8_t *page = (const uint8_t *)keys->pages[first_key / keys->page_tokens];
  if (!has_scales(keys)) {
    products(keys->element, b->queries + first_row * b->stride, b->stride,
             page + keys->offset + column_bytes(keys->element, dimension) * (inside / CK_PANEL),
             column_bytes(keys->element, dimension), dimension, rows, panels, b->logits + first_row * CK_KEY_TILE,
             CK_KEY_TILE, 0, b->wide);
  } else if (has_numbers(keys)) {
    whole_logits(keys, page, inside, dimension, first_row, rows, panels, b);
  } else if (keys->group > 0) {
    grouped_logits(keys, page, inside, dimension, first_row, rows, panels, b);
  } else {
    channel_logits(keys, page, inside, dimension, first_row, rows, panels, b);
  }
  for (ptrdiff_t r = first_row; r < first_row + rows; r++) {
    ptrdiff_t position = task->first_position + r / task->group;
    ptrdiff_t from = task->window > 0 && position - task->window + 1 > 0 ? position - task->window + 1 : 0;
    weigh(task, b->logits + r * CK_KEY_TILE, panels, first_key, from, position + 1, r, state);
  }
  page = (const uint8_t *)values->pages[first_key / values->page_tokens];
  inside = first_key % values->page_tokens;
  float *results = state->results + first_row * task->padded_dimension;
  if (has_numbers(values)) {
    whole_values(task, values, page, inside, first_row, rows, panels, b, results);
  } else if (has_scales(values)) {
    grouped_values(task, values, page, inside, first_row, rows, panels, b, results);
  } else {
    ptrdiff_t panel_bytes = column_bytes(values->element, values->page_tokens);
    products(values->element, b->logits + first_row * CK_KEY_TILE, CK_KEY_TILE,
             page + values->offset + column_bytes(values->element, inside), panel_bytes, panels * CK_PANEL, rows,
             task->padded_dimension / CK_PANEL, results, task->padded_dimension, 1, b->wide);
  }
}

/// Query rows, from the first on, that see a tile at full precision: those of tokens so early that the tile is recent.
CK_INLINE ptrdiff_t recent_rows(const ck_attention *task, ptrdiff_t first_key) {
  if (task->recent < 0) return 0;
  ptrdiff_t tokens = 0;
  for (; tokens < task->tokens; tokens++) {
    ptrdiff_t old = task->first_position + tokens + 1 - task->recent;
    if (first_key < (old > 0 ? old / CK_KEY_TILE * CK_KEY_TILE : 0)) break;
  }
  return tokens * task->group;
}

void ISA(ck_attention_f32)(const ck_attention *task) {
  ptrdiff_t rows = task->tokens * task->group, dimension = task->head_dimension, padded = task->padded_dimension;
  bench b;
  running state;
  b.stride = (dimension + CK_PANEL - 1) / CK_PANEL * CK_PANEL;
  b.queries = task->scratch;
  b.scaled = b.queries + rows * b.stride;
  b.logits = b.scaled + rows * b.stride;
  b.parts = b.logits + rows * CK_KEY_TILE;
  b.wide = b.parts + rows * CK_KEY_TILE;
  state.results = b.wide + CK_PANEL * (dimension > CK_KEY_TILE ? dimension : CK_KEY_TILE);
  state.sums = state.results + rows * padded;
  state.maximum = state.sums + rows * CK_PANEL;
  memset(b.queries, 0, (size_t)(rows * b.stride) * sizeof(float));
  memset(state.results, 0, (size_t)(rows * (padded + CK_PANEL)) * sizeof(float));
  for (ptrdiff_t r = 0; r < rows; r++) {
    memcpy(b.queries + r * b.stride, task->q + r / task->group * task->q_stride + r % task->group * dimension,
           (size_t)dimension * sizeof(float));
    if (task->key_rotation > 0) rotate(b.queries + r * b.stride, dimension, task->key_rotation);
    for (ptrdiff_t start = 0, g = 0; has_numbers(&task->keys) && start < b.stride; start += task->keys.group, g++) {
      ptrdiff_t count = b.stride - start < task->keys.group ? b.stride - start : task->keys.group;
      query_scales(&b, r)[g] = whole_numbers(b.queries + r * b.stride + start, count, query_numbers(&b, r) + start);
    }
    // A sink is a key before all others, with weight exp(0) and nothing to add.
    state.maximum[r] = task->sinks ? task->sinks[r % task->group] : -__builtin_inff();
    if (task->sinks) state.sums[r * CK_PANEL] = 1;
  }
  ptrdiff_t last = task->first_position + task->tokens, first = 0;
  if (task->window > 0 && task->first_position - task->window + 1 > 0)
    first = (task->first_position - task->window + 1) / CK_KEY_TILE * CK_KEY_TILE;
  for (ptrdiff_t key = first; key < last; key += CK_KEY_TILE) {
    ptrdiff_t count = last - key < CK_KEY_TILE ? last - key : CK_KEY_TILE, recent = recent_rows(task, key);
    if (recent > 0) attend_tile(task, &task->recent_keys, &task->recent_values, 0, recent, key, count, &b, &state);
    if (recent < rows) attend_tile(task, &task->keys, &task->values, recent, rows - recent, key, count, &b, &state);
  }
  for (ptrdiff_t r = 0; r < rows; r++) {
    ptrdiff_t wanted = task->value_dimension;
    float *to = task->y + r / task->group * task->y_stride + r % task->group * wanted;
    float *from = state.results + r * padded;
    if (task->value_rotation > 0) rotate(from, wanted, task->value_rotation);
    v16 total = v_set(v_sum(v_load(state.sums + r * CK_PANEL)));
    for (ptrdiff_t d = 0; d < wanted; d += CK_PANEL) {
      float buffer[16];
      v_store(buffer, v_div(v_load(from + d), total));
      memcpy(to + d, buffer, (size_t)(wanted - d < CK_PANEL ? wanted - d : CK_PANEL) * sizeof(float));
    }
  }
}
