// The search of the k-quants: 256 weights with two levels of scales. Included after body_quantize_search.h.
//
// First every group gets the best step (and minimum) it could have by itself; then a superblock chooses the factor that
// the codes of its steps multiply, each group tries the codes around its wish against its weights, and the factors are
// fitted anew to the codes that came out.

/// A kind of k-quant.
typedef struct k_kind {
  /// Weights of a group, and groups of a superblock; 16 groups are searched at once.
  int length, per_super;
  /// Codes of weights are in low...high.
  float low, high;
  /// Codes of steps are in 0...codes, or in -codes..<codes where there is no minimum.
  float codes;
  /// Levels that the range is first divided into, relative to all of them: `first`, `first + stride`, ...; with importance,
  /// which makes more difference between them, and without.
  float first;
  struct {
    int count;
    float stride;
  } weighted_starts, plain_starts;
  /// How often factors are fitted to codes and codes chosen anew.
  int rounds;
} k_kind;

/// Sets of 16 groups that are searched together: none waits for its own last result while there is another to work on.
enum { SETS_TOGETHER = 4 };

/// What a set, one or two superblocks, is encoded with. Steps and minimums are those that decoding gives, times
/// the unit.
typedef struct k_grid {
  float step[16], minimum[16];
  float step_code[16], minimum_code[16];
  /// Per superblock, as stored, and its value times the unit.
  uint16_t half_d[2], half_dmin[2];
  float d[2], dmin[2];
} k_grid;

/// Sum of lanes of a superblock, in four parts that do not wait for each other.
CK_INLINE double lane_sum(v16 values, int super, int per_super) {
  float lanes[16];
  double part[4] = {0, 0, 0, 0};
  v_store(lanes, values);
  for (int lane = 0; lane < per_super; lane++) part[lane & 3] += (double)lanes[super * per_super + lane];
  return (part[0] + part[1]) + (part[2] + part[3]);
}

/// The lane of a superblock's largest magnitude, the first of several.
CK_INLINE float lane_extreme(v16 values, int super, int per_super) {
  float lanes[16], best = 0;
  if (per_super == 16) {
    float most = v_maximum(values), least = -v_maximum(v_sub(v_zero(), values));
    if (most != -least) return most > -least ? most : least;
  }
  v_store(lanes, values);
  for (int lane = super * per_super; lane < (super + 1) * per_super; lane++)
    if (__builtin_fabsf(lanes[lane]) > __builtin_fabsf(best)) best = lanes[lane];
  return best;
}

/// Gives every lane the number of its superblock.
CK_INLINE v16 spread(const float values[2], int per_super) {
  float lanes[16];
  for (int lane = 0; lane < 16; lane++) lanes[lane] = values[lane / per_super];
  return v_load(lanes);
}

/// Codes of steps and minimums with the error that they leave.
typedef struct offset_codes {
  v16 step, minimum, error;
} offset_codes;

/// Tries the codes within `reach` of the step that each group wishes, each with the two minimums around the best for
/// it; `q` are the groups' sums of codes.
CK_SEARCH offset_codes choose_offset_codes(const groups *g, shape of, weight_sums sums, k_kind kind, v16 wish, v16 q, v16 d,
                                           v16 dmin, int reach) {
  v16 zero = v_zero(), one = v_set(1), most = v_set(kind.codes);
  v16 inverse_dmin = v_inverse(dmin), inverse_w = v_inverse(sums.w);
  offset_codes best = {zero, zero, v_set(__builtin_inff())};
  v16 wished = v_min(v_mul(wish, v_inverse(d)), most);
  for (int i = -reach; i <= reach; i++) {
    v16 code = v_clamp(v_add(v_round(wished), v_set((float)i)), zero, most);
    v16 step = v_mul(code, d);
    v16 wanted = v_mul(v_mul(v_sub(v_mul(step, q), sums.wx), inverse_w), inverse_dmin);
    v16 minimum_code[2], minimum[2], error[2];
    minimum_code[0] = v_floor_positive(v_clamp(wanted, zero, most));
    minimum_code[1] = v_min(v_add(minimum_code[0], one), most);
    for (int k = 0; k < 2; k++) minimum[k] = v_mul(minimum_code[k], dmin);
    offset_errors(g, of, step, 2, minimum, kind.high, error);
    for (int k = 0; k < 2; k++) {
      best.step = v_select_lt(error[k], best.error, code, best.step);
      best.minimum = v_select_lt(error[k], best.error, minimum_code[k], best.minimum);
      best.error = v_select_lt(error[k], best.error, error[k], best.error);
    }
  }
  return best;
}

/// Steps and minimums that groups would have by themselves, before the last fit to codes.
CK_SEARCH offset_fit first_offsets(const groups *g, shape of, weight_sums sums, k_kind kind, int bounded) {
  v16 zero = v_zero(), low = bounded ? zero : v_load(g->x), high = v_load(g->x);
  for (int i = 0; i < of.length; i++) {
    v16 x = v_load(g->x + i * 16);
    low = v_min(x, low);
    high = v_max(x, high);
  }
  v16 span = v_sub(high, low), inverse = v_inverse(span), minimum = v_sub(zero, low);
  offset_fit fit = {zero, minimum, v_set(__builtin_inff())};
  int starts = of.weighted ? kind.weighted_starts.count : kind.plain_starts.count;
  float stride = of.weighted ? kind.weighted_starts.stride : kind.plain_starts.stride;
  for (int i = 0; i < starts; i++) {
    float levels = kind.high + kind.first + stride * (float)i;
    offset_candidate(g, of, sums, v_mul(span, v_set(1 / levels)), v_mul(inverse, v_set(levels)), minimum, bounded, kind.high,
                     &fit);
  }
  return fit;
}

/// Fits steps and minimums to the codes that they give.
CK_SEARCH void refit_offsets(const groups *g, shape of, weight_sums sums, k_kind kind, int bounded, offset_fit *fit) {
  offset_candidate(g, of, sums, fit->step, v_inverse(fit->step), fit->minimum, bounded, kind.high, fit);
}

/// Factors of least error for given codes; those of `grid` where there are none.
CK_SEARCH void fit_factors(const groups *g, shape of, weight_sums sums, k_kind kind, const float unit[2], offset_codes chosen,
                           const k_grid *grid, k_grid *fitted) {
  v16 step = v_mul(chosen.step, spread(grid->d, kind.per_super));
  v16 minimum = v_mul(chosen.minimum, spread(grid->dmin, kind.per_super));
  offset_moments of_codes = sum_codes(g, of, step, minimum, kind.high);
  v16 lanes[5] = {v_mul(v_mul(chosen.step, chosen.step), of_codes.qq), v_mul(v_mul(chosen.step, chosen.minimum), of_codes.q),
                  v_mul(v_mul(chosen.minimum, chosen.minimum), sums.w), v_mul(chosen.step, of_codes.qx),
                  v_mul(chosen.minimum, sums.wx)};
  for (int s = 0; s < 16 / kind.per_super; s++) {
    double sum[5];
    for (int i = 0; i < 5; i++) sum[i] = lane_sum(lanes[i], s, kind.per_super);
    double determinant = sum[0] * sum[2] - sum[1] * sum[1];
    double d = sum[0] > 0 ? sum[3] / sum[0] : 0, dmin = 0;
    if (determinant > 1e-9 * sum[0] * sum[2]) {
      d = (sum[3] * sum[2] - sum[1] * sum[4]) / determinant;
      dmin = (sum[1] * sum[3] - sum[0] * sum[4]) / determinant;
    }
    int possible = d > 0 && dmin >= 0;
    fitted->d[s] = stored_factor(possible ? (float)d : grid->d[s], unit[s], &fitted->half_d[s]);
    fitted->dmin[s] = stored_factor(possible ? (float)dmin : grid->dmin[s], unit[s], &fitted->half_dmin[s]);
  }
}

/// Takes what was chosen with new factors where it is better, superblock by superblock.
CK_SEARCH void keep_better_factors(k_kind kind, offset_codes again, const k_grid *next, offset_codes *chosen, k_grid *grid) {
  float keeps[2] = {1, 1};
  for (int s = 0; s < 16 / kind.per_super; s++) {
    if (!(lane_sum(again.error, s, kind.per_super) < lane_sum(chosen->error, s, kind.per_super))) continue;
    keeps[s] = 0;
    grid->d[s] = next->d[s];
    grid->dmin[s] = next->dmin[s];
    grid->half_d[s] = next->half_d[s];
    grid->half_dmin[s] = next->half_dmin[s];
  }
  v16 zero = v_zero(), keep = spread(keeps, kind.per_super);
  chosen->step = v_select_lt(zero, keep, chosen->step, again.step);
  chosen->minimum = v_select_lt(zero, keep, chosen->minimum, again.minimum);
  chosen->error = v_select_lt(zero, keep, chosen->error, again.error);
}

/// Finds the grids of `count` sets with minimums; `unit` are factors of the superblocks' weights.
CK_SEARCH void search_offsets(const groups *g, int count, shape of, k_kind kind, float unit[][2], k_grid *grid) {
  weight_sums sums[SETS_TOGETHER];
  offset_fit fit[SETS_TOGETHER];
  offset_codes chosen[SETS_TOGETHER];
  v16 q[SETS_TOGETHER];
  for (int i = 0; i < count; i++) {
    sums[i] = sum_weights(&g[i], of);
    fit[i] = first_offsets(&g[i], of, sums[i], kind, 1);
  }
  for (int i = 0; i < count; i++) refit_offsets(&g[i], of, sums[i], kind, 1, &fit[i]);
  for (int i = 0; i < count; i++) {
    q[i] = sum_codes(&g[i], of, fit[i].step, fit[i].minimum, kind.high).q;
    for (int s = 0; s < 16 / kind.per_super; s++) {
      float d = lane_extreme(fit[i].step, s, kind.per_super), dmin = lane_extreme(fit[i].minimum, s, kind.per_super);
      grid[i].d[s] = stored_factor(d / kind.codes, unit[i][s], &grid[i].half_d[s]);
      grid[i].dmin[s] = stored_factor(dmin / kind.codes, unit[i][s], &grid[i].half_dmin[s]);
    }
  }
  for (int i = 0; i < count; i++)
    chosen[i] = choose_offset_codes(&g[i], of, sums[i], kind, fit[i].step, q[i], spread(grid[i].d, kind.per_super),
                                    spread(grid[i].dmin, kind.per_super), 0);
  for (int round = 0; round < kind.rounds; round++) {
    k_grid next[SETS_TOGETHER];
    for (int i = 0; i < count; i++) fit_factors(&g[i], of, sums[i], kind, unit[i], chosen[i], &grid[i], &next[i]);
    for (int i = 0; i < count; i++) {
      v16 wish = v_mul(chosen[i].step, spread(grid[i].d, kind.per_super));
      offset_codes again = choose_offset_codes(&g[i], of, sums[i], kind, wish, q[i], spread(next[i].d, kind.per_super),
                                               spread(next[i].dmin, kind.per_super), 1);
      keep_better_factors(kind, again, &next[i], &chosen[i], &grid[i]);
    }
  }
  for (int i = 0; i < count; i++) {
    v_store(grid[i].step, v_mul(chosen[i].step, spread(grid[i].d, kind.per_super)));
    v_store(grid[i].minimum, v_mul(chosen[i].minimum, spread(grid[i].dmin, kind.per_super)));
    v_store(grid[i].step_code, chosen[i].step);
    v_store(grid[i].minimum_code, chosen[i].minimum);
  }
}

/// The codes nearest to the steps that groups wish, with the moments of what they give.
CK_SEARCH step_fit nearest_step_codes(const groups *g, shape of, k_kind kind, v16 wish, v16 d, v16 *qq, v16 *qx) {
  v16 code = v_round(v_clamp(v_mul(wish, v_inverse(d)), v_set(-kind.codes), v_set(kind.codes - 1)));
  return (step_fit){code, step_moments(g, of, v_mul(code, d), kind.low, kind.high, qq, qx)};
}

/// Tries the codes around the step that each group wishes; `step` of the result is a code.
CK_SEARCH step_fit choose_step_codes(const groups *g, shape of, k_kind kind, v16 wish, v16 d) {
  v16 least = v_set(-kind.codes), most = v_set(kind.codes - 1);
  step_fit best = {v_zero(), v_set(__builtin_inff())};
  v16 wished = v_round(v_clamp(v_mul(wish, v_inverse(d)), least, most));
  v16 code[3], step[3], error[3];
  for (int k = 0; k < 3; k++) {
    code[k] = v_clamp(v_add(wished, v_set((float)(k - 1))), least, most);
    step[k] = v_mul(code[k], d);
  }
  step_errors(g, of, 3, step, kind.low, kind.high, error);
  for (int k = 0; k < 3; k++) {
    best.step = v_select_lt(error[k], best.error, code[k], best.step);
    best.error = v_select_lt(error[k], best.error, error[k], best.error);
  }
  return best;
}

/// Steps that groups would have by themselves, before the last fit to codes. The weight of largest magnitude gets the
/// lowest code, so that steps have both signs.
CK_SEARCH step_fit first_steps(const groups *g, shape of, k_kind kind) {
  v16 zero = v_zero(), least = zero, most = zero;
  for (int i = 0; i < of.length; i++) {
    v16 x = v_load(g->x + i * 16);
    least = v_min(x, least);
    most = v_max(x, most);
  }
  v16 extreme = v_select_lt(most, v_sub(zero, least), least, most), inverse = v_inverse(extreme);
  step_fit fit = {zero, v_set(__builtin_inff())};
  int starts = of.weighted ? kind.weighted_starts.count : kind.plain_starts.count;
  float stride = of.weighted ? kind.weighted_starts.stride : kind.plain_starts.stride;
  for (int i = 0; i < starts; i += STEPS_AT_ONCE) {
    v16 steps[STEPS_AT_ONCE], inverses[STEPS_AT_ONCE];
    int count = starts - i < STEPS_AT_ONCE ? starts - i : STEPS_AT_ONCE;
    for (int k = 0; k < count; k++) {
      float levels = kind.low - (kind.first + stride * (float)(i + k));
      steps[k] = v_mul(extreme, v_set(1 / levels));
      inverses[k] = v_mul(inverse, v_set(levels));
    }
    step_candidates(g, of, count, steps, inverses, kind.low, kind.high, &fit);
  }
  return fit;
}

/// Fits steps to the codes that they give.
CK_SEARCH void refit_steps(const groups *g, shape of, k_kind kind, step_fit *fit) {
  v16 inverse = v_inverse(fit->step);
  step_candidates(g, of, 1, &fit->step, &inverse, kind.low, kind.high, fit);
}

/// Finds the grids of `count` sets, each a superblock, without minimums.
CK_SEARCH void search_steps(const groups *g, int count, shape of, k_kind kind, float unit[][2], k_grid *grid) {
  step_fit fit[SETS_TOGETHER], chosen[SETS_TOGETHER];
  float d[SETS_TOGETHER], fitted[SETS_TOGETHER];
  uint16_t half[SETS_TOGETHER];
  v16 qq[SETS_TOGETHER], qx[SETS_TOGETHER];
  for (int i = 0; i < count; i++) fit[i] = first_steps(&g[i], of, kind);
  for (int i = 0; i < count; i++) refit_steps(&g[i], of, kind, &fit[i]);
  for (int i = 0; i < count; i++)
    d[i] = stored_factor(lane_extreme(fit[i].step, 0, 16) / -kind.codes, unit[i][0], &grid[i].half_d[0]);
  // With importance the neighbours of the nearest codes are worth their time from the first; without, at the end.
  for (int i = 0; i < count; i++)
    chosen[i] = of.weighted ? choose_step_codes(&g[i], of, kind, fit[i].step, v_set(d[i]))
                            : nearest_step_codes(&g[i], of, kind, fit[i].step, v_set(d[i]), &qq[i], &qx[i]);
  for (int round = 0; round < kind.rounds; round++) {
    for (int i = 0; i < count; i++) {
      if (round > 0 || of.weighted)
        step_moments(&g[i], of, v_mul(chosen[i].step, v_set(d[i])), kind.low, kind.high, &qq[i], &qx[i]);
      double below = lane_sum(v_mul(v_mul(chosen[i].step, chosen[i].step), qq[i]), 0, 16);
      double above = lane_sum(v_mul(chosen[i].step, qx[i]), 0, 16);
      fitted[i] = stored_factor(below > 0 ? (float)(above / below) : d[i], unit[i][0], &half[i]);
    }
    for (int i = 0; i < count; i++) {
      step_fit again = choose_step_codes(&g[i], of, kind, v_mul(chosen[i].step, v_set(d[i])), v_set(fitted[i]));
      if (!(lane_sum(again.error, 0, 16) < lane_sum(chosen[i].error, 0, 16))) continue;
      chosen[i] = again;
      d[i] = fitted[i];
      grid[i].half_d[0] = half[i];
    }
  }
  for (int i = 0; i < count; i++) {
    v_store(grid[i].step, v_mul(chosen[i].step, v_set(d[i])));
    v_store(grid[i].step_code, chosen[i].step);
  }
}
