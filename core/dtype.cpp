#include "core/dtype.h"

#include "core/error.h"

namespace elastron {

size_t dtype_size(DType t) {
  switch (t) {
    case DType::f64:
    case DType::i64: return 8;
    case DType::f32:
    case DType::i32: return 4;
    case DType::bf16: return 2;
    case DType::u8:
    case DType::e4m3: return 1;
  }
  throw LogicError("unknown dtype");
}

std::string_view dtype_name(DType t) {
  switch (t) {
    case DType::f64: return "float64";
    case DType::f32: return "float32";
    case DType::bf16: return "bfloat16";
    case DType::i64: return "int64";
    case DType::i32: return "int32";
    case DType::u8: return "uint8";
    case DType::e4m3: return "float8_e4m3fn";
  }
  throw LogicError("unknown dtype");
}

DType dtype_from_name(std::string_view name) {
  for (DType t :
       {DType::f64, DType::f32, DType::bf16, DType::i64, DType::i32, DType::u8, DType::e4m3}) {
    if (dtype_name(t) == name) return t;
  }
  throw LogicError("unknown dtype name '" + std::string(name) + "'");
}

}  // namespace elastron
