// What libraries share that are preloaded into the program to stand between it and the C library.
#pragma once
#include <dlfcn.h>
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <cstring>
#include <string>

namespace elastron::test {

// The function that would have been called.
template <class F>
F next(const char* name) {
  return reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
}

// Of an open file; "" where it has none.
inline std::string path_of(int descriptor) {
  char link[64], path[PATH_MAX];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t length = readlink(link, path, sizeof path);
  return {path, length > 0 ? size_t(length) : 0};
}

// Whether the path of an open file has `part` in it; never without a part.
inline bool is_of(int descriptor, const char* part) {
  return part != nullptr && path_of(descriptor).find(part) != std::string::npos;
}

}  // namespace elastron::test
