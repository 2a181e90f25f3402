// Keys and values on their way into pages: rotated, quantized with scales of their own, laid into panels.
// Included after body_cache.h.

/// The nearest E4M3 code, ties to even, for |x| <= 448 (NaN gives the largest); x is a value times 2^-8 like those that are
/// loaded, so that it stands on the scale of a half: the upper eight bits of one, rounded once.
CK_INLINE uint8_t e4m3_code(float x) {
  uint32_t bits, sign;
  memcpy(&bits, &x, 4);
  sign = bits >> 24 & 128;
  bits &= 0x7FFFFFFF;
  float magnitude;
  memcpy(&magnitude, &bits, 4);
  // Below 2^-6 (times 2^-8) codes are evenly spaced, 2^-9 (times 2^-8) apart.
  if (magnitude < 0x1p-14f) return (uint8_t)(sign | (uint32_t)((magnitude * 0x1p17f + 12582912.0f) - 12582912.0f));
  bits += 0x7FFFF + (bits >> 20 & 1);
  uint32_t code = (bits >> 20) - ((127 - 15) << 3);
  return (uint8_t)(sign | (code > 126 ? 126 : code));
}

/// How a group of at most CK_KEY_TILE numbers is stored.
typedef struct group_fit {
  uint16_t scale;
  uint16_t minimum;
} group_fit;

/// Codes of 0...15 at a scale and a minimum; returns the squared error.
CK_INLINE float nibble_codes(const float *x, ptrdiff_t count, float scale, float minimum, float *codes) {
  v16 error = v_zero(), inverse = v_set(scale > 0 ? 1 / scale : 0);
  for (ptrdiff_t i = 0; i < count; i += CK_PANEL) {
    v16 value = v_load(x + i);
    v16 code = v_round(v_mul(v_sub(value, v_set(minimum)), inverse));
    code = v_min(v_set(15), v_max(v_zero(), code));
    v16 rest = v_sub(value, v_fma(code, v_set(scale), v_set(minimum)));
    error = v_fma(rest, rest, error);
    v_store(codes + i, code);
  }
  return v_sum(error);
}

/// Evenly spaced codes between bounds that are drawn in while the squared error falls. x is padded with repetitions.
CK_INLINE group_fit fit_nibbles(const float *x, ptrdiff_t count, float *codes) {
  v16 low = v_load(x), high = v_load(x);
  for (ptrdiff_t i = CK_PANEL; i < count; i += CK_PANEL) {
    low = v_min(low, v_load(x + i));
    high = v_max(high, v_load(x + i));
  }
  float most = v_maximum(high), least = -v_maximum(v_sub(v_zero(), low));
  group_fit best = {0, 0};
  float smallest = 0;
  for (int step = 0; step < 8; step++) {
    float cut = (most - least) * (0.02f * (float)step);
    uint16_t minimum = v_half(least + cut), scale = v_half((most - least - 2 * cut) * (1 / 15.0f));
    float trial[CK_KEY_TILE];
    float error = nibble_codes(x, count, ck_float_from_half(scale), ck_float_from_half(minimum), trial);
    if (step > 0 && !(error < smallest)) continue;
    smallest = error;
    best.scale = scale;
    best.minimum = minimum;
    memcpy(codes, trial, sizeof trial);
  }
  return best;
}

/// Quantizes `count` numbers (whole vectors; the last padded with repetitions) to codes as floats, or, for FP8, to values
/// times 2^-8 over the scale, which is `fixed` when that is more than 0.
CK_INLINE group_fit fit_group(int32_t element, const float *x, ptrdiff_t count, float fixed, float *codes) {
  uint32_t bits = 0;
  for (ptrdiff_t i = 0; i < count; i += CK_PANEL) {
    uint32_t now = v_magnitude_bits(v_load(x + i));
    bits = now > bits ? now : bits;
  }
  float largest;
  memcpy(&largest, &bits, 4);
  if (bits >= 0x7F800000u) {
    // What is not finite must not look as if it were.
    group_fit lost = {0x7E00, 0x7E00};
    memset(codes, 0, CK_KEY_TILE * sizeof(float));
    return lost;
  }
  if (element == CK_KV_INT4) return fit_nibbles(x, count, codes);
  float limit = element == CK_KV_INT8 ? 127 : 1.75f;
  group_fit fit = {v_half(fixed > 0 ? fixed * (element == CK_KV_FP8 ? 256 : 1) : largest / limit), 0};
  float scale = ck_float_from_half(fit.scale);
  v16 inverse = v_set(scale > 0 ? 1 / scale : 0);
  for (ptrdiff_t i = 0; i < count; i += CK_PANEL) {
    v16 value = v_mul(v_load(x + i), inverse);
    value = v_min(v_set(limit), v_max(v_set(-limit), value));
    v_store(codes + i, element == CK_KV_INT8 ? v_round(value) : value);
  }
  return fit;
}

CK_INLINE uint8_t code_byte(int32_t element, float code) {
  return element == CK_KV_INT8 ? (uint8_t)(int8_t)code : element == CK_KV_INT4 ? (uint8_t)code : e4m3_code(code);
}

/// Puts code number `column` into lane `lane` of a panel.
CK_INLINE void put_code(int32_t element, uint8_t *panel, ptrdiff_t column, ptrdiff_t lane, uint8_t code) {
  if (element != CK_KV_INT4) {
    panel[column * CK_PANEL + lane] = code;
    return;
  }
  uint8_t *byte = panel + column / 2 * CK_PANEL + lane;
  *byte = column & 1 ? (uint8_t)((*byte & 15) | code << 4) : (uint8_t)((*byte & 240) | code);
}

/// Copies `count` numbers and repeats the last one up to a multiple of 16.
CK_INLINE ptrdiff_t take_group(const float *x, ptrdiff_t count, float *to) {
  ptrdiff_t whole = (count + CK_PANEL - 1) / CK_PANEL * CK_PANEL;
  for (ptrdiff_t i = 0; i < whole; i++) to[i] = x[i < count ? i : count - 1];
  return whole;
}

CK_INLINE uint8_t *page_of(const ck_cache_side *side, ptrdiff_t position) {
  return (uint8_t *)side->pages[position / side->page_tokens];
}

/// Stores a key, or a value, with a scale for each of its groups. Keys lie across panels, values along them.
static void store_groups(const ck_store *s, const ck_cache_side *side, int is_key, const float *x, ptrdiff_t dimension,
                         ptrdiff_t position) {
  float fixed = is_key ? s->key_scale : s->value_scale;
  ptrdiff_t inside = position % side->page_tokens;
  uint8_t *bytes = page_of(side, position);
  for (ptrdiff_t start = 0, g = 0; start < dimension; start += side->group, g++) {
    float group[CK_KEY_TILE], codes[CK_KEY_TILE];
    ptrdiff_t count = dimension - start < side->group ? dimension - start : side->group;
    group_fit fit = fit_group(side->element, group, take_group(x + start, count, group), fixed, codes);
    ((uint16_t *)(void *)(bytes + side->scales))[g * side->page_tokens + inside] = fit.scale;
    if (has_minima(side)) ((uint16_t *)(void *)(bytes + side->minima))[g * side->page_tokens + inside] = fit.minimum;
    for (ptrdiff_t i = 0; i < count; i++) {
      ptrdiff_t d = start + i;
      uint8_t code = code_byte(side->element, codes[i]);
      if (is_key) {
        uint8_t *panel = bytes + side->offset + column_bytes(side->element, dimension) * (inside / CK_PANEL);
        put_code(side->element, panel, d, inside % CK_PANEL, code);
      } else {
        uint8_t *panel = bytes + side->offset + column_bytes(side->element, side->page_tokens) * (d / CK_PANEL);
        put_code(side->element, panel, inside, d % CK_PANEL, code);
      }
    }
  }
}

/// Quantizes the whole tile of keys that ends at a position channel by channel from the recent pages.
static void store_channels(const ck_store *s, ptrdiff_t position) {
  const ck_cache_side *side = &s->keys, *recent = &s->recent_keys;
  ptrdiff_t dimension = s->head_dimension, begin = position / CK_KEY_TILE * CK_KEY_TILE;
  ptrdiff_t first = begin % side->page_tokens, tile = first / CK_KEY_TILE;
  ptrdiff_t stride = (dimension + CK_PANEL - 1) / CK_PANEL * CK_PANEL;
  ptrdiff_t from_bytes = column_bytes(recent->element, dimension), to_bytes = column_bytes(side->element, dimension);
  const uint8_t *from =
      page_of(recent, begin) + recent->offset + from_bytes * (begin % recent->page_tokens / CK_PANEL);
  uint8_t *bytes = page_of(side, begin);
  for (ptrdiff_t d = 0; d < dimension; d++) {
    float keys[CK_KEY_TILE], codes[CK_KEY_TILE];
    for (ptrdiff_t p = 0; p < CK_KEY_TILE / CK_PANEL; p++) {
      const uint8_t *lanes = from + p * from_bytes + column_bytes(recent->element, d);
      if (recent->element == CK_KV_F32) v_store(keys + p * CK_PANEL, v_load((const float *)(const void *)lanes));
      else v_store(keys + p * CK_PANEL, v_load_f16((const uint16_t *)(const void *)lanes));
    }
    group_fit fit = fit_group(side->element, keys, CK_KEY_TILE, 0, codes);
    ((uint16_t *)(void *)(bytes + side->scales))[tile * stride + d] = fit.scale;
    if (has_minima(side)) ((uint16_t *)(void *)(bytes + side->minima))[tile * stride + d] = fit.minimum;
    for (ptrdiff_t i = 0; i < CK_KEY_TILE; i++) {
      uint8_t *panel = bytes + side->offset + to_bytes * ((first + i) / CK_PANEL);
      put_code(side->element, panel, d, i % CK_PANEL, code_byte(side->element, codes[i]));
    }
  }
}

/// Zeroes the lanes of the panels that a token begins, or their scales, so that lanes of tokens to come never hold what was
/// forgotten.
CK_INLINE void clear_panels(const ck_cache_side *side, int is_key, ptrdiff_t dimension, ptrdiff_t position) {
  ptrdiff_t inside = position % side->page_tokens;
  uint8_t *bytes = page_of(side, position);
  if (has_scales(side)) {
    for (ptrdiff_t start = 0, g = 0; side->group > 0 && start < dimension; start += side->group, g++) {
      memset(bytes + side->scales + (g * side->page_tokens + inside) * 2, 0, CK_PANEL * 2);
      if (has_minima(side)) memset(bytes + side->minima + (g * side->page_tokens + inside) * 2, 0, CK_PANEL * 2);
    }
  } else if (is_key) {
    ptrdiff_t size = column_bytes(side->element, dimension);
    memset(bytes + side->offset + size * (inside / CK_PANEL), 0, (size_t)size);
  } else {
    for (ptrdiff_t d = 0; d < dimension; d += CK_PANEL)
      memset(bytes + side->offset + column_bytes(side->element, side->page_tokens) * (d / CK_PANEL) +
                 column_bytes(side->element, inside),
             0, (size_t)column_bytes(side->element, CK_PANEL));
  }
}

/// Stores a key (into lane `inside % 16` of its panel) or a value as floats or halves.
static void store_floats(const ck_cache_side *side, int is_key, const float *x, ptrdiff_t dimension,
                         ptrdiff_t position) {
  ptrdiff_t inside = position % side->page_tokens;
  uint8_t *bytes = page_of(side, position) + side->offset;
  for (ptrdiff_t d = 0; d < dimension; d += CK_PANEL) {
    ptrdiff_t count = dimension - d < CK_PANEL ? dimension - d : CK_PANEL;
    float numbers[16] = {0};
    uint16_t halves[16];
    memcpy(numbers, x + d, (size_t)count * sizeof(float));
    v_store_f16(halves, v_load(numbers));
    if (is_key) {
      uint8_t *panel = bytes + column_bytes(side->element, dimension) * (inside / CK_PANEL) + column_bytes(side->element, d);
      for (ptrdiff_t i = 0; i < count; i++) {
        ptrdiff_t at = i * CK_PANEL + inside % CK_PANEL;
        if (side->element == CK_KV_F32) ((float *)(void *)panel)[at] = numbers[i];
        else ((uint16_t *)(void *)panel)[at] = halves[i];
      }
    } else {
      uint8_t *row = bytes + column_bytes(side->element, side->page_tokens) * (d / CK_PANEL) + column_bytes(side->element, inside);
      if (side->element == CK_KV_F32) memcpy(row, numbers, sizeof numbers);
      else memcpy(row, halves, sizeof halves);
    }
  }
}

CK_INLINE void store_side(const ck_store *s, const ck_cache_side *side, int is_key, const float *x, ptrdiff_t dimension,
                          ptrdiff_t position) {
  if (position % CK_PANEL == 0) clear_panels(side, is_key, dimension, position);
  if (!has_scales(side)) store_floats(side, is_key, x, dimension, position);
  else if (side->group > 0) store_groups(s, side, is_key, x, dimension, position);
}

/// Stores the keys and values of one head for all tokens.
void ISA(ck_store_kv_f32)(const ck_store *s) {
  for (ptrdiff_t t = 0; t < s->tokens; t++) {
    ptrdiff_t position = s->first_position + t;
    const float *k = s->k + t * s->k_stride, *v = s->v + t * s->v_stride;
    if (s->key_rotation > 0) {
      memcpy(s->scratch, k, (size_t)s->head_dimension * sizeof(float));
      rotate(s->scratch, s->head_dimension, s->key_rotation);
      k = s->scratch;
    }
    if (s->value_rotation > 0) {
      float *turned = s->scratch + s->head_dimension;
      memcpy(turned, v, (size_t)s->value_dimension * sizeof(float));
      rotate(turned, s->value_dimension, s->value_rotation);
      v = turned;
    }
    if (s->has_recent) {
      store_side(s, &s->recent_keys, 1, k, s->head_dimension, position);
      store_side(s, &s->recent_values, 0, v, s->value_dimension, position);
    }
    store_side(s, &s->keys, 1, k, s->head_dimension, position);
    store_side(s, &s->values, 0, v, s->value_dimension, position);
    if (has_scales(&s->keys) && s->keys.group == 0 && position % CK_KEY_TILE == CK_KEY_TILE - 1)
      store_channels(s, position);
  }
}
