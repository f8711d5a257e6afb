#!/bin/sh
# Makes demo-video.mp4 and demo-audio.mp4: a school of fish that swims round for 8 s, with a melody of 8 s.
# Both loop without a seam. Needs ffmpeg 5 or later with libx264; takes some seconds; run it in this directory.
set -eu

# Water: a gradient with slow light in it, drawn small and enlarged. A fish: body and wagging tail, with a soft edge.
water="color=black:s=80x45:r=25:d=8,format=yuv420p,geq=\
lum='96-Y*1.3+10*sin(X/6+2*PI*T/8)*sin(Y/8+X/17-2*PI*T/4)':cb='158-Y*0.5':cr='106',scale=640:360:flags=bicubic"
body="exp(-(pow((X-34)/17\,2)+pow((Y-12)/7\,2)))"
tail="exp(-(pow((X-10)/8\,2)+pow((Y-12-4*sin(4*PI*T))/7\,2)))"
fish="color=black:s=56x24:r=25:d=8,format=yuva420p,geq=\
lum='150+60*$body':cb='84':cr='168':a='255*clip(2.6*($body+$tail)-1\,0\,1)'"

# A place in the school: rounds of the picture in 8 s, where it begins in its round, height, size.
places="1,0.00,90,1.3 1,0.08,130,1 1,0.12,60,0.9 1,0.18,108,1.2 1,0.25,150,0.8 1,0.31,84,1 1,0.36,122,0.9
2,0.55,215,1.6 2,0.62,250,1.3 2,0.68,200,1.1 1,0.70,300,1.5 1,0.79,280,1.1 1,0.84,315,0.9 1,0.52,40,0.7"
graph="$water[p0];$fish,split=14"
n=0
for place in $places; do graph="$graph[f$n]"; n=$((n + 1)); done
n=0
for place in $places; do
    IFS=, read -r rounds phase height size <<PLACE
$place
PLACE
    graph="$graph;[f$n]scale=iw*$size:-2[s$n];[p$n][s$n]overlay=format=yuv420:\
x='mod(t/8*$rounds+$phase\,1)*(W+120)-100':y='$height+16*sin(2*PI*(t/4*$rounds+$phase))'[p$((n + 1))]"
    n=$((n + 1))
done
ffmpeg -v error -y -f lavfi -i "$graph;[p$n]format=yuv420p" -t 8 \
    -an -c:v libx264 -preset slower -profile:v main -crf 26 -bf 0 -g 25 -keyint_min 25 -sc_threshold 0 \
    -movflags +cmaf+empty_moov+default_base_moof+separate_moof -frag_duration 200000 -f mp4 demo-video.mp4

# A note each half second, of a pentatonic scale in semitones above 220 Hz; frequencies are whole eighths of a hertz.
# Three rounds are encoded and the second is kept, 375 AAC frames of 1024 samples at 48 kHz: exactly 8 s, and the
# encoder's state at its end is that at its beginning.
tune=""
k=0
for semitones in 12 7 4 7 9 4 2 0 7 9 12 16 14 12 9 7; do
    tune="$tune+eq(floor(mod(t\,8)*2)\,$k)*$semitones"
    k=$((k + 1))
done
note="st(1\,mod(t\,0.5));st(2\,0$tune);st(3\,round(8*220*pow(2\,ld(2)/12))/8);\
0.16*sin(2*PI*ld(3)*t)*exp(-5*ld(1))*(1-exp(-150*ld(1)))+0.05*sin(2*PI*110*t)*(0.7+0.3*sin(2*PI*t/8))+0.03*sin(2*PI*165*t)"
ffmpeg -v error -y -f lavfi -i "aevalsrc='$note':s=48000:d=24" -c:a aac -b:a 80k -ac 2 round3.mp4
ffmpeg -v error -y -ss 8 -i round3.mp4 -c copy -frames:a 375 \
    -movflags +cmaf+empty_moov+default_base_moof+separate_moof -frag_duration 200000 -f mp4 demo-audio.mp4
rm round3.mp4
