// The header of a safetensors file: JSON from strangers, parsed as a stream so that a hostile one
// costs neither memory nor time.
#pragma once
#include <cstdint>
#include <map>
#include <string>

#include "core/file/input_file.h"
#include "core/tensor.h"

namespace elastron {

// Describes a stored tensor. float16 is read (converted), never held; 8-bit floats are held by
// themselves only where their scales are beside them.
enum class Storage : uint8_t { f64, f32, f16, bf16, e4m3, i64, i32, u8 };
size_t storage_size(Storage storage);
const char* storage_name(Storage storage);  // "F64", ...
bool is_floating(Storage storage);
// As numbers: float16 and 8-bit floats become float32.
DType dtype_of_storage(Storage storage);

struct SafetensorsEntry {
  Storage storage = Storage::f32;
  Shape shape;
  uint64_t begin = 0, end = 0;  // bytes in the data section
};

struct SafetensorsHeader {
  std::map<std::string, SafetensorsEntry> entries;
  std::map<std::string, std::string> metadata;
  uint64_t data_begin = 0;  // in the file
};

// Throws InputError naming the file and the tensor: a header that is too long (16 MiB are accepted,
// room for 100,000 tensors), is not JSON, has unknown, missing or repeated keys, an unsupported
// dtype, numbers that are not whole or overflow, ranges that leave holes, overlap, or do not fit
// shape and file.
SafetensorsHeader read_safetensors_header(const InputFile& file);

}  // namespace elastron
