#if defined(__x86_64__)
#pragma STDC FP_CONTRACT OFF
#include "vector_avx2.h"

#include "body_tile.h"
#include "body_linear_f32.h"
#include "body_linear_compact.h"
#include "vector_end.h"
#endif
