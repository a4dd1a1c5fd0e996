# Ends the process groups of a driver that is gone. The driver is the only writer of this script's input, which
# therefore ends when the driver does, however that comes about.
trap '' HUP INT TERM
groups=' '
while read -r change group; do
  case $change in
    +) groups="$groups$group " ;;
    -) groups="${groups%% "$group" *} ${groups#* "$group" }" ;;
  esac
done
for group in $groups; do kill -s KILL -- "-$group"; done
[ -z "$1" ] || command -p rm -rf -- "$1"
