#include "core/file/safetensors_header.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/error.h"

namespace elastron {

namespace {

static_assert(std::endian::native == std::endian::little, "safetensors is little-endian");

constexpr uint64_t kLongestHeader = uint64_t(16) << 20;
constexpr size_t kLongestName = 1024;
const std::string kRemedy = "the file is damaged or cut off; copy it again";

struct StorageKind {
  const char* name;
  size_t bytes;
  DType dtype;
};
// By Storage.
constexpr std::array<StorageKind, 8> kKinds = {{{"F64", 8, DType::f64},
                                                {"F32", 4, DType::f32},
                                                {"F16", 2, DType::f32},
                                                {"BF16", 2, DType::bf16},
                                                {"F8_E4M3", 1, DType::f32},
                                                {"I64", 8, DType::i64},
                                                {"I32", 4, DType::i32},
                                                {"U8", 1, DType::u8}}};

// A name from the file, fit for one line of a message.
std::string shown(std::string name) {
  constexpr size_t kMost = 80;
  if (name.size() > kMost) name = name.substr(0, kMost) + "...";
  std::ranges::replace_if(
      name, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return name;
}

// The header's bytes, a piece at a time.
class HeaderBytes {
 public:
  HeaderBytes(const InputFile& file, uint64_t begin, uint64_t end)
      : file_(file), at_(begin), end_(end) {}
  bool done() const { return used_ == filled_ && at_ == end_; }
  char peek() {
    if (used_ == filled_) {
      filled_ = size_t(std::min<uint64_t>(buffer_.size(), end_ - at_));
      file_.read_at(at_, std::as_writable_bytes(std::span(buffer_.data(), filled_)));
      // The parser would take a NUL for the end and not look at what follows.
      if (std::find(buffer_.data(), buffer_.data() + filled_, '\0') != buffer_.data() + filled_) {
        throw InputError("the header has a NUL byte", file_.path(), kRemedy);
      }
      at_ += filled_;
      used_ = 0;
    }
    return buffer_[used_];
  }
  void skip() { ++used_; }

 private:
  const InputFile& file_;
  uint64_t at_, end_;
  std::array<char, 32768> buffer_;
  size_t used_ = 0, filled_ = 0;
};

struct HeaderIterator {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = char;

  HeaderBytes* bytes = nullptr;  // null: the end

  char operator*() const { return bytes->peek(); }
  HeaderIterator& operator++() {
    bytes->skip();
    return *this;
  }
  bool operator==(const HeaderIterator& o) const {
    return (bytes == nullptr || bytes->done()) == (o.bytes == nullptr || o.bytes->done());
  }
  bool operator!=(const HeaderIterator& o) const { return !(*this == o); }
};

// Takes {"name": {"dtype": "F32", "shape": [..], "data_offsets": [b, e]}, "__metadata__": {..}} and
// nothing else. Throws from the callbacks: nothing is built from a header that is not right.
class Handler final : public nlohmann::json_sax<nlohmann::json> {
 public:
  Handler(const std::string& path, SafetensorsHeader& header) : path_(path), header_(header) {}

  bool null() override { wrong("null"); }
  bool boolean(bool) override { wrong("a truth value"); }
  bool number_integer(number_integer_t) override { wrong("a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    wrong("a number that is not whole or too large");
  }
  bool binary(binary_t&) override { wrong("a binary value"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (field_ == Field::shape && list_open_) {
      if (extents_.size() == size_t(Shape::kMaxRank)) fail("more than 6 dims");
      // Far beyond any file, far below overflow of a sum.
      if (value > (uint64_t(1) << 48)) fail("the shape overflows");
      extents_.push_back(int64_t(value));
    } else if (field_ == Field::offsets && list_open_) {
      if (offsets_.size() == 2) fail("data_offsets has more than two numbers");
      offsets_.push_back(value);
    } else {
      wrong("a number");
    }
    return true;
  }

  bool string(string_t& value) override {
    if (in_metadata_) {
      if (!header_.metadata.emplace(metadata_key_, value).second) {
        fail("repeated key '" + shown(metadata_key_) + "'");
      }
      return true;
    }
    if (field_ != Field::dtype) wrong("a text");
    const auto known =
        std::ranges::find_if(kKinds, [&](const StorageKind& k) { return value == k.name; });
    if (known == kKinds.end()) {
      throw InputError("dtype '" + shown(value) + "' is not supported", where(),
                       "convert the file to F32, BF16 or F16");
    }
    entry_.storage = Storage(known - kKinds.begin());
    return true;
  }

  bool start_object(size_t) override {
    if (depth_ == 0) {
      depth_ = 1;
    } else if (depth_ == 1) {
      depth_ = 2;
      entry_ = {};
      seen_ = 0;
      field_ = Field::none;
    } else {
      wrong("an object");
    }
    return true;
  }

  bool key(string_t& name) override {
    if (name.size() > kLongestName) fail("a name has more than 1024 bytes");
    if (depth_ == 1) {
      name_ = name;
      in_metadata_ = name == "__metadata__";
      if (in_metadata_ ? std::exchange(metadata_seen_, true) : header_.entries.contains(name)) {
        fail("the name is there twice");
      }
    } else if (in_metadata_) {
      metadata_key_ = name;
    } else {
      static constexpr std::array<const char*, 3> kFields = {"dtype", "shape", "data_offsets"};
      const auto known = std::ranges::find(kFields, name);
      if (known == kFields.end()) fail("unknown key '" + shown(name) + "'");
      const auto index = int(known - kFields.begin());
      if ((seen_ & (1 << index)) != 0) fail("repeated key '" + name + "'");
      seen_ |= 1 << index;
      field_ = Field(index + 1);
    }
    return true;
  }

  bool start_array(size_t) override {
    if (list_open_ || depth_ != 2 || in_metadata_ ||
        (field_ != Field::shape && field_ != Field::offsets)) {
      wrong("a list");
    }
    list_open_ = true;
    (field_ == Field::shape ? void(extents_.clear()) : void(offsets_.clear()));
    return true;
  }
  bool end_array() override {
    list_open_ = false;
    return true;
  }

  bool end_object() override {
    if (depth_ == 2 && !in_metadata_) finish_entry();
    --depth_;
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) override {
    throw InputError("the header is not JSON", path_ + ", byte " + std::to_string(8 + position),
                     kRemedy);
  }

 private:
  enum class Field : uint8_t { none, dtype, shape, offsets };

  std::string where() const { return depth_ < 1 ? path_ : path_ + ", tensor " + shown(name_); }
  [[noreturn]] void fail(const std::string& what) const {
    throw InputError(what, where(), kRemedy);
  }
  [[noreturn]] void wrong(const std::string& found) const {
    fail(found + " stands where the format has something else");
  }

  void finish_entry() {
    if (seen_ != 7) fail("the entry lacks dtype, shape or data_offsets");
    if (offsets_.size() != 2) fail("data_offsets is not a pair");
    // Strides must not overflow either: an extent of zero hides nothing.
    auto bytes = int64_t(storage_size(entry_.storage));
    bool empty = false;
    for (const int64_t extent : extents_) {
      empty |= extent == 0;
      if (extent > 0 && __builtin_mul_overflow(bytes, extent, &bytes)) fail("the shape overflows");
    }
    if (empty) bytes = 0;
    entry_.shape = Shape(extents_);
    entry_.begin = offsets_[0];
    entry_.end = offsets_[1];
    if (entry_.end < entry_.begin || entry_.end - entry_.begin != uint64_t(bytes)) {
      fail("shape and data_offsets disagree");
    }
    header_.entries.emplace(name_, entry_);
  }

  const std::string& path_;
  SafetensorsHeader& header_;
  int depth_ = 0;
  std::string name_, metadata_key_;
  bool in_metadata_ = false, metadata_seen_ = false, list_open_ = false;
  Field field_ = Field::none;
  int seen_ = 0;  // bits of the fields
  SafetensorsEntry entry_;
  std::vector<int64_t> extents_;
  std::vector<uint64_t> offsets_;
};

// Ranges tile the data section. Tensors without elements may stand anywhere between two others.
void check_ranges(const SafetensorsHeader& header, uint64_t data_bytes, const std::string& path) {
  std::vector<const std::pair<const std::string, SafetensorsEntry>*> order;
  for (const auto& entry : header.entries) order.push_back(&entry);
  std::ranges::sort(order, [](const auto* a, const auto* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  uint64_t at = 0;
  for (const auto* entry : order) {
    if (entry->second.begin != at) {
      throw InputError(entry->second.begin < at ? "its data overlaps another tensor's"
                                                : "there is a hole before its data",
                       path + ", tensor " + shown(entry->first), kRemedy);
    }
    at = entry->second.end;
  }
  if (at != data_bytes) {
    throw InputError("the data section has " + std::to_string(data_bytes) +
                         " bytes, the header names " + std::to_string(at),
                     path, kRemedy);
  }
}

}  // namespace

size_t storage_size(Storage storage) { return kKinds[size_t(storage)].bytes; }
const char* storage_name(Storage storage) { return kKinds[size_t(storage)].name; }
DType dtype_of_storage(Storage storage) { return kKinds[size_t(storage)].dtype; }
bool is_floating(Storage storage) { return storage <= Storage::e4m3; }

SafetensorsHeader read_safetensors_header(const InputFile& file) {
  const std::string& path = file.path();
  if (file.size() < 8) throw InputError("the file has no header", path, kRemedy);
  refuse_lfs_pointer(file);
  uint64_t length = 0;
  file.read_at(0, std::as_writable_bytes(std::span(&length, 1)));
  if (length > kLongestHeader || length > file.size() - 8) {
    throw InputError("the header's length of " + std::to_string(length) + " bytes is out of range",
                     path, kRemedy);
  }
  SafetensorsHeader header;
  header.data_begin = 8 + length;
  HeaderBytes bytes(file, 8, header.data_begin);
  if (bytes.done() || bytes.peek() != '{') {
    throw InputError("the header is not a JSON object", path, kRemedy);
  }
  Handler handler(path, header);
  nlohmann::json::sax_parse(HeaderIterator{&bytes}, HeaderIterator{}, &handler);
  check_ranges(header, file.size() - header.data_begin, path);
  return header;
}

}  // namespace elastron
