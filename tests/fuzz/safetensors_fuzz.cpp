// safetensors files and indices. An input that begins with '{' is a model.safetensors.index.json
// beside two shards, anything else a safetensors file, whose tensors are read too.
#include <filesystem>
#include <map>

#include "core/file/atomic_file.h"
#include "core/file/safetensors_folder.h"
#include "tests/fuzz/input.h"

namespace elastron::fuzz {
namespace {

void read_tensors(const std::string& path) {
  CpuDevice cpu;
  const SafetensorsFile file(path);
  for (const auto& [name, entry] : file.entries()) {
    const Tensor whole = file.read(name, cpu);
    require(whole.shape() == entry.shape);
    if (!is_floating(entry.storage) || entry.shape.rank() == 0 || entry.shape[0] < 2) continue;
    // A rank's part, converted.
    const Partition part{.dim = entry.shape.rank() - 1,
                         .offset = entry.shape[-1] / 2,
                         .size = entry.shape[-1] - entry.shape[-1] / 2};
    Tensor own = Tensor::empty(local_shape(entry.shape, part), DType::bf16, cpu);
    file.read(name, entry.shape, part, own);
  }
}

void read_index(std::string_view text) {
  static const std::string folder = [] {
    CpuDevice cpu;
    const Tensor values = Tensor::from(std::vector<float>{1, 2}, {2}, cpu);
    write_safetensors(scratch_folder() + "/a.safetensors", {{"x", values}, {"y", values}});
    write_safetensors(scratch_folder() + "/b.safetensors", {{"z", values}});
    return scratch_folder();
  }();
  // Not through write_text_atomically: nothing needs to reach the disk.
  const InputAsFile index(text);
  const std::string link = folder + "/" + SafetensorsFolder::kIndex;
  std::filesystem::remove(link);
  std::filesystem::create_symlink(index.path(), link);
  const SafetensorsFolder weights(folder);
  for (const auto& [name, file] : weights.homes()) require(file->entries().contains(name));
}

}  // namespace
}  // namespace elastron::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace elastron::fuzz;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  expect_read_or_refused([&] {
    if (bytes.starts_with('{')) return read_index(bytes);
    const InputAsFile file(bytes);
    read_tensors(file.path());
  });
  return 0;
}
