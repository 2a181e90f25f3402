#define CK_IS_PORTABLE
#pragma STDC FP_CONTRACT OFF
#include "vector_portable.h"

#include "body_quantize_search.h"
#include "body_quantize_k.h"
#include "body_quantize_legacy.h"
#include "body_quantize.h"
#include "body_dequantize.h"
#include "vector_end.h"
