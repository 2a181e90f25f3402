#include "CKernels.h"
int ck_placeholder;
