#!/bin/sh
# link_variants_test.sh SOURCE COMPILER LD NM OBJCOPY: a library of two files in three variants, one with an inline
# function and a variable that the others have too. A program takes the one it is told, and nothing of another.
set -eu
source=$1 CXX=$2 LD=$3 NM=$4 OBJCOPY=$5
export CXX LD NM OBJCOPY
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
fail() { echo "FAILED: $1" >&2; exit 1; }

cat >shared.h <<'TEXT'
#include <stdexcept>
#include <string>
// Differs by variant, as inline functions do that were compiled for another processor.
template <class T> [[gnu::noinline]] T of_variant(T x) { return x * 100 + VARIANT; }
inline std::string& text() { static std::string t = "variant "; return t; }
int outer(int x);
int inner(int x);
std::string spoken(int x);
TEXT
cat >outer.cpp <<'TEXT'
#include "shared.h"
int outer(int x) { return inner(x) + of_variant(0); }
TEXT
cat >inner.cpp <<'TEXT'
#include "shared.h"
int inner(int x) { if (x < 0) throw std::invalid_argument("below 0"); return of_variant(x); }
std::string spoken(int x) { return text() + std::to_string(of_variant(x)); }
#if VARIANT > 0
int only_newer() { return 1; }
#endif
TEXT
cat >main.cpp <<'TEXT'
#define VARIANT 0
#include "shared.h"
#include <cstdio>
#include <cstdlib>
extern "C" void elastron_take_variant(int);
static int chosen = -1;
extern "C" void elastron_choose_variant() { chosen = atoi(getenv("TAKE")); elastron_take_variant(chosen); }
int main() {
  const char* caught = "";
  try { outer(-1); } catch (const std::invalid_argument&) { caught = "caught"; }
  std::printf("%d %d %s %s %d\n", outer(5), (&inner)(7), spoken(3).c_str(), caught, of_variant(1));
}
TEXT
arguments=""
n=0
for name in old newer newest; do
  mkdir $name
  for file in outer inner; do $CXX -std=c++20 -O1 -fno-gnu-unique -DVARIANT=$n -c $file.cpp -o $name/$file.o; done
  arguments="$arguments --variant $name $folder/$name/outer.o $folder/$name/inner.o"
  n=$((n + 1))
done
# shellcheck disable=SC2086
"$source/cmake/link_variants.sh" "$folder/linked" $arguments
$CXX -std=c++20 -O1 main.cpp linked/*.o -o program
for take in 0 1 2; do
  said=$(TAKE=$take ./program)
  # The program itself has the first one, as everything else of a build has.
  [ "$said" = "$((500 + 2 * take)) $((700 + take)) variant $((300 + take)) caught 100" ] || fail "variant $take: $said"
done

# A variant that lacks a function is refused.
$CXX -std=c++20 -O1 -fno-gnu-unique -DVARIANT=1 -c outer.cpp -o newer/only.o
if "$source/cmake/link_variants.sh" "$folder/bad" --variant old "$folder/old/outer.o" "$folder/old/inner.o" --variant newer "$folder/newer/only.o" 2>said; then
  fail "a variant without all functions was taken"
fi
grep -q "^error: .* is not in variant newer" said || fail "$(cat said)"
