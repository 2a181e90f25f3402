// Closes what a vector header opened.
#if defined(__x86_64__) && !defined(CK_IS_PORTABLE)
#pragma clang attribute pop
#endif
