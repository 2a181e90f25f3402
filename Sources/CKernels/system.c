#if defined(__linux__)
#define _GNU_SOURCE
#include <malloc.h>
#include <sched.h>
#include <sys/mman.h>
#endif
#include <unistd.h>

#include "CKernels.h"

void ck_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

int32_t ck_processor_count(void) {
#if defined(__linux__)
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) return CPU_COUNT(&allowed);
#endif
  long count = sysconf(_SC_NPROCESSORS_ONLN);
  return count > 0 ? (int32_t)count : 1;
}

void ck_pin_thread(int32_t index) {
#if defined(__linux__)
  cpu_set_t allowed, one;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    if (index-- > 0) continue;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    (void)sched_setaffinity(0, sizeof one, &one);
    return;
  }
#else
  (void)index;
#endif
}

void ck_fetch(const void *start, ptrdiff_t bytes) {
  for (ptrdiff_t at = 0; at < bytes; at += 64) __builtin_prefetch((const char *)start + at, 0, 2);
}

void ck_advise_large_pages(void *start, ptrdiff_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  (void)madvise(start, (size_t)bytes, MADV_HUGEPAGE);
#else
  (void)start;
  (void)bytes;
#endif
}

int ck_keep_freed_blocks(void) {
#ifdef __GLIBC__
  // 32 MiB is the largest threshold that glibc takes.
  return mallopt(M_MMAP_THRESHOLD, 32 << 20) && mallopt(M_TRIM_THRESHOLD, 1 << 30);
#else
  return 0;
#endif
}
