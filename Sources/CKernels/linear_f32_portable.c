#define CK_IS_PORTABLE
#pragma STDC FP_CONTRACT OFF
#include "vector_portable.h"

#include "body_tile.h"
#include "body_linear_f32.h"
#include "body_linear_compact.h"
#include "vector_end.h"
