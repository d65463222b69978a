// From a run-time dtype to a template argument, in one place.
//   with_float_dtype(x.dtype(), [&]<class T>() { cpu::rms_norm<T>(...); });
#pragma once
#include <utility>

#include "core/dtype.h"
#include "core/error.h"
#include "core/float8.h"

namespace elastron {

template <class F>
decltype(auto) with_float_dtype(DType t, F&& f) {
  switch (t) {
    case DType::f64: return f.template operator()<double>();
    case DType::f32: return f.template operator()<float>();
    case DType::bf16: return f.template operator()<bf16>();
    default: break;
  }
  throw LogicError("this op takes float64, float32 or bfloat16, not " + std::string(dtype_name(t)));
}

// Whatever a frozen weight may be kept in. Few ops read that: all others have with_float_dtype.
template <class F>
decltype(auto) with_stored_dtype(DType t, F&& f) {
  if (t == DType::e4m3) return f.template operator()<e4m3>();
  return with_float_dtype(t, std::forward<F>(f));
}

// float32 and float64 only: parameters in master precision, statistics, router.
template <class F>
decltype(auto) with_master_dtype(DType t, F&& f) {
  switch (t) {
    case DType::f64: return f.template operator()<double>();
    case DType::f32: return f.template operator()<float>();
    default: break;
  }
  throw LogicError("this op takes float64 or float32, not " + std::string(dtype_name(t)));
}

}  // namespace elastron
