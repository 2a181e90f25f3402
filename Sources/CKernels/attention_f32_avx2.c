#if defined(__x86_64__)
#pragma STDC FP_CONTRACT OFF
#include "vector_avx2.h"

#include "body_math.h"
#include "body_tile.h"
#include "body_hadamard.h"
#include "body_cache.h"
#include "body_cache_i8.h"
#include "body_attention_f32.h"
#include "body_store_kv.h"
#include "vector_end.h"
#endif
