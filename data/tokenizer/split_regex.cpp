#include "data/tokenizer/split_regex.h"

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <new>

#include "core/error.h"
#include "data/tokenizer/split_syntax.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace elastron::data {

namespace {

constexpr size_t kMostPatternBytes = 4096;
// A pattern of nested repetitions can take exponential time. Steps of backtracking for one match:
// a run of one class may take one per byte.
constexpr uint64_t kSteps = 1'000'000, kStepsPerByte = 16;
constexpr uint32_t kHeapKiB = 256 * 1024;
constexpr size_t kStackBytes = size_t(16) << 20;
// Repeating a long search at each position takes quadratic time, which no limit of PCRE2 sees. The
// supported families take about 0.02 us per byte.
constexpr int64_t kNanoseconds = 5'000'000'000, kNanosecondsPerByte = 1'000;
constexpr int64_t kCallsBetweenLooks = 256;
constexpr size_t kStartsPerCall = 256;  // bytes at which one call tries to begin a match

template <class T, void (*release)(T*)>
struct Release {
  void operator()(T* object) const { release(object); }
};
template <class T, void (*release)(T*)>
using Owned = std::unique_ptr<T, Release<T, release>>;

// A thread needs these to match; they are the same for all patterns.
struct Workspace {
  Owned<pcre2_match_data, pcre2_match_data_free> data{pcre2_match_data_create(1, nullptr)};
  Owned<pcre2_match_context, pcre2_match_context_free> context{pcre2_match_context_create(nullptr)};
  Owned<pcre2_jit_stack, pcre2_jit_stack_free> stack{
      pcre2_jit_stack_create(32 * 1024, kStackBytes, nullptr)};

  Workspace() {
    if (!data || !context || !stack) throw std::bad_alloc();
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
    pcre2_set_heap_limit(context.get(), kHeapKiB);
  }
  static Workspace& of_this_thread() {
    thread_local Workspace workspace;
    return workspace;
  }
};

std::string message_of(int code) {
  PCRE2_UCHAR text[200] = {};
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

int64_t thread_nanoseconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return int64_t(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

PCRE2_SPTR units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

}  // namespace

struct SplitRegex::Compiled {
  Owned<pcre2_code, pcre2_code_free> code;
  std::string where;
  bool classes = false;  // of characters

  [[noreturn]] void fail(const std::string& what) const {
    throw InputError("split pattern: " + what, where, "use the tokenizer.json of a known model");
  }
};

SplitRegex::SplitRegex(const std::string& pattern, const std::string& where)
    : compiled_(std::make_unique<Compiled>()) {
  compiled_->where = where;
  if (pattern.size() > kMostPatternBytes) {
    compiled_->fail(std::to_string(pattern.size()) + " bytes");
  }
  compiled_->classes = check_split_syntax(pattern, where);
  const Owned<pcre2_compile_context, pcre2_compile_context_free> context{
      pcre2_compile_context_create(nullptr)};
  if (!context) throw std::bad_alloc();
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);  // for "."
  int error = 0;
  size_t offset = 0;
  compiled_->code.reset(
      pcre2_compile(units(pattern), pattern.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_NO_AUTO_CAPTURE | PCRE2_USE_OFFSET_LIMIT, &error,
                    &offset, context.get()));
  if (!compiled_->code) {
    compiled_->fail(message_of(error) + " at byte " + std::to_string(offset));
  }
  uint32_t matches_nothing = 0;
  pcre2_pattern_info(compiled_->code.get(), PCRE2_INFO_MATCHEMPTY, &matches_nothing);
  if (matches_nothing != 0) compiled_->fail("it can match the empty text");
  // Where the machine forbids to make code at run time, PCRE2 interprets: slower, same matches.
  pcre2_jit_compile(compiled_->code.get(), PCRE2_JIT_COMPLETE);
}

SplitRegex::SplitRegex(SplitRegex&&) noexcept = default;
SplitRegex::~SplitRegex() = default;

SplitRegex::Scan::Scan(const SplitRegex& regex, std::string_view text)
    : regex_(regex),
      text_(regex.compiled_->classes ? with_known_characters(text, shadow_) : text) {}

void SplitRegex::Scan::look_at_clock() {
  const int64_t now = thread_nanoseconds();
  if (deadline_ns_ == 0) {
    deadline_ns_ = now + kNanoseconds + kNanosecondsPerByte * int64_t(text_.size());
  }
  if (now > deadline_ns_) regex_.compiled_->fail("it takes too long on this text");
}

bool SplitRegex::Scan::next(Match& match) {
  const Compiled& compiled = *regex_.compiled_;
  Workspace& workspace = Workspace::of_this_thread();
  pcre2_set_match_limit(
      workspace.context.get(),
      uint32_t(std::min<uint64_t>(kSteps + kStepsPerByte * text_.size(), UINT32_MAX)));
  if (calls_++ % kCallsBetweenLooks == 0) look_at_clock();
  while (at_ < text_.size()) {
    pcre2_set_offset_limit(workspace.context.get(), at_ + kStartsPerCall);
    const int code = pcre2_match(compiled.code.get(), units(text_), text_.size(), at_,
                                 PCRE2_NO_UTF_CHECK, workspace.data.get(), workspace.context.get());
    if (code == PCRE2_ERROR_NOMATCH) {
      look_at_clock();
      at_ = std::min(text_.size(), at_ + kStartsPerCall + 1);
      while (at_ < text_.size() && (uint8_t(text_[at_]) & 0xc0) == 0x80) ++at_;
      continue;
    }
    if (code < 0) compiled.fail(message_of(code) + " on this text");
    const size_t* const found = pcre2_get_ovector_pointer(workspace.data.get());
    match = {found[0], found[1]};
    if (match.begin < at_ || match.end <= match.begin || match.end > text_.size()) {
      compiled.fail("it matched the empty text");
    }
    at_ = match.end;
    return true;
  }
  return false;
}

}  // namespace elastron::data
